"""Dashboards, widget configurations, and what widgets show."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    "kept",
    [
        ("dashboard", "dashboards", {"title": "T", "description": "D", "filters": "a=b"}, {"title": "U"}),
        (
            "widget-config",
            "widgets",
            {"widget": "jenkins-job-view", "title": "T", "weight": 3, "params": {"builds": 5}},
            {"weight": 1},
        ),
    ],
)
@pytest.mark.parametrize("of_project", [True, False])
def test_dashboards_and_widgets_are_kept_for_a_project_or_for_oneself(
    ann: Any, person: Callable[..., Any], kept: tuple[str, str, dict[str, Any], dict[str, Any]], of_project: bool
) -> None:
    kind, plural, body, change = kept
    carl = person("carl", member_of=ann.project)
    sent = body | ({"project_id": str(ann.project.id)} if of_project else {})
    made = ann.post(f"/{kind}", sent)
    assert made.status_code == 201
    one = made.get_json()
    assert sent.items() <= one.items()
    path = f"/{kind}/{one['id']}"
    assert ann.get(path).get_json() == one
    assert ann.get(f"/{kind}?filter=title=T").get_json()[plural] == [one]
    assert carl.get(path).status_code == (200 if of_project else 403)
    assert carl.get(f"/{kind}").get_json()[plural] == ([one] if of_project else [])
    assert ann.put(path, change).get_json() == one | change
    assert ann.delete(path).status_code == 200
    assert ann.get(path).status_code == 404


def test_the_types_say_what_they_take_and_can_be_chosen(ann: Any) -> None:
    types = ann.get("/widget/types").get_json()["types"]
    assert {one["type"] for one in types} == {"widget", "view"}
    for one in types:
        assert all(param["description"] and param["type"] for param in one["params"])
        assert ann.get(f"/widget/{one['id']}").status_code == 200
        assert ann.post("/widget-config", {"widget": one["id"]}).get_json()["type"] == one["type"]
    assert {one["type"] for one in ann.get("/widget/types?type=view").get_json()["types"]} == {"view"}
    assert ann.post("/widget-config", {"widget": "nothing"}).status_code == 400


@pytest.fixture
def reported(ann: Any, bob: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    for component, outcomes in (("shop", ["passed", "failed"]), ("cart", ["passed"])):
        jenkins = {"jenkins": {"job_name": "nightly", "build_number": 7, "build_url": "http://j/7"}}
        run = ann.run(component=component, metadata=jenkins, start_time=now.isoformat())
        for outcome in outcomes:
            ann.result(run, result=outcome, component=component, metadata={"branch": "main"})
        ann.put(f"/run/{run['id']}", {"source": "ci"})
    ann.run(summary={"collected": "x"}, metadata={"jenkins": "odd"}, start_time=now.isoformat())
    bob.result(bob.run(component="bobs"), result="error", metadata={"branch": "bobs"})
    return {"project": str(ann.project.id)}


def widget(asker: Any, name: str, **params: Any) -> Any:
    response = asker.get(f"/widget/{name}", query_string={"params": json.dumps(params)})
    assert response.status_code == 200, response.text
    return response.get_json()


def test_a_widget_is_shown_as_it_is_configured_to_who_sees_its_configuration(
    ann: Any, bob: Any, reported: dict[str, Any]
) -> None:
    body = {"widget": "result-summary", "params": {"component": "cart"}, "project_id": reported["project"]}
    config = ann.post("/widget-config", body).get_json()["id"]
    ann.result(ann.run(project_id=ann.post("/project", {"name": "other"}).get_json()["id"], component="cart"))
    assert widget(ann, config) == widget(ann, "result-summary", component="cart", **reported)
    assert widget(ann, config, component="shop") == widget(ann, "result-summary", component="shop", **reported)
    assert bob.get(f"/widget/{config}").status_code == 403
    ann.delete(f"/widget-config/{config}")
    assert ann.get(f"/widget/{config}").status_code == 404


def test_what_the_widgets_show(ann: Any, reported: dict[str, Any]) -> None:
    counts = {"passed": 2, "failed": 1, "error": 0, "skipped": 0, "xfailed": 0, "xpassed": 0}
    assert widget(ann, "result-summary", **reported) == {"total": 3, **counts}
    assert widget(ann, "result-summary", component="cart")["total"] == 1
    assert widget(ann, "result-summary", job_name="nightly", additional_filters=["component=shop"])["total"] == 2
    assert widget(ann, "run-aggregator")["passed"] == {"shop": 50, "cart": 100}
    assert widget(ann, "result-aggregator") == [{"_id": "passed", "count": 2}, {"_id": "failed", "count": 1}]
    assert widget(ann, "result-aggregator", group_field="metadata.branch") == [{"_id": "main", "count": 3}]
    (job,) = widget(ann, "jenkins-job-view")["jobs"]
    assert (job["job_name"], job["build_number"], job["build_url"]) == ("nightly", "7", "http://j/7")
    assert job["summary"]["tests"] == 3


@pytest.mark.parametrize(
    "params",
    ["[]", "{", '{"weeks": 0}', '{"group_field": "password"}', '{"additional_filters": ["x"]}', '{"project": "x"}'],
)
def test_parameters_that_make_no_sense_are_refused(ann: Any, params: str) -> None:
    assert ann.get("/widget/run-aggregator", query_string={"params": params}).status_code == 400


def test_a_widget_of_a_strangers_project_is_refused(ann: Any, bob: Any) -> None:
    params = json.dumps({"project": str(ann.project.id)})
    assert bob.get("/widget/result-summary", query_string={"params": params}).status_code == 403
