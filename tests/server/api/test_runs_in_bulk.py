"""Bulk updates, and pages that a task makes."""

from __future__ import annotations

import json
import uuid
from typing import Any

import flask
import pytest
from redis import Redis
from sqlalchemy.orm import Session

from ibutsu_server.api import newest
from ibutsu_server.store import accounts, pages


def test_a_bulk_update_merges_into_the_newest_that_match(ann: Any, bob: Any) -> None:
    runs = [ann.run(start_time=f"2024-01-0{day}", metadata={"a": {"b": day}}, source="x") for day in (1, 2, 3)]
    bobs = bob.run(start_time="2024-01-09", source="x")
    body = {"metadata": {"a": {"c": 1}}}
    one = ann.post("/runs/bulk-update?filter=source=x", body)
    assert one.status_code == 200
    assert [run["id"] for run in one.get_json()["runs"]] == [runs[2]["id"]]
    two = ann.post("/runs/bulk-update?filter=source=x&pageSize=2", body).get_json()
    assert [run["id"] for run in two["runs"]] == [runs[2]["id"], runs[1]["id"]]
    assert two["runs"][1]["metadata"] == {"a": {"b": 2, "c": 1}}
    assert ann.get(f"/run/{runs[0]['id']}").get_json()["metadata"] == {"a": {"b": 1}}
    assert bob.get(f"/run/{bobs['id']}").get_json()["metadata"] == {}


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("pageSize=26", {"metadata": {"a": 1}}, 405),
        ("pageSize=0", {"metadata": {"a": 1}}, 400),
        ("filter=source=none", {"metadata": {"a": 1}}, 404),
        ("", {}, 401),
        ("", {"metadata": "a"}, 400),
    ],
)
def test_what_is_wrong_with_a_bulk_update(ann: Any, query: str, body: dict[str, Any], status: int) -> None:
    ann.run()
    assert ann.post(f"/runs/bulk-update?{query}", body).status_code == status


@pytest.mark.parametrize("kind", ["run", "result"])
def test_a_page_over_500_becomes_a_task_with_the_content_of_a_direct_answer(
    ann: Any, bob: Any, session: Session, broker_url: str, kind: str
) -> None:
    for source in "aab":
        ann.result(ann.run(source=source), source=source)
    bob.result(bob.run(source="a"), source="a")
    started = ann.get(f"/{kind}?filter=source=a&pageSize=501")
    assert started.status_code == 201
    task_id = started.get_json()["task_id"]
    assert started.get_json()["query_endpoint"].endswith(f"/api/task/{task_id}")
    waiting = ann.get(f"/task/{task_id}")
    assert (waiting.status_code, waiting.get_json()["state"]) == (206, "PENDING")

    redis = Redis.from_url(broker_url)
    ((message),) = redis.lrange("ibutsu", 0, -1)
    envelope = json.loads(message)
    assert envelope["headers"]["task"] == newest.TASK
    import base64

    args, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
    made = pages.query_page(
        session, args[0], kwargs["filters"], page=kwargs["page"], page_size=kwargs["page_size"],
        most_bytes=10**6, user_id=uuid.UUID(kwargs["user_id"]),
    )  # fmt: skip
    meta = {"status": "SUCCESS", "result": made, "name": newest.TASK, "kwargs": kwargs}
    redis.set(f"celery-task-meta-{task_id}", json.dumps(meta))
    redis.close()

    done = ann.get(f"/task/{task_id}")
    assert (done.status_code, done.get_json()["state"]) == (200, "SUCCESS")
    direct = ann.get(f"/{kind}?filter=source=a").get_json()
    assert done.get_json()[f"{kind}s"] == direct[f"{kind}s"]
    assert done.get_json()["pagination"] == direct["pagination"] | {"pageSize": 501}
    assert bob.get(f"/task/{task_id}").status_code == 206


def test_a_large_page_with_a_filter_that_makes_no_sense_is_refused_at_once(ann: Any) -> None:
    assert ann.get("/run?filter=nothing&pageSize=501").status_code == 400


def test_a_failed_task_says_why_and_a_malformed_id_is_refused(ann: Any, broker_url: str) -> None:
    task_id = uuid.uuid4()
    redis = Redis.from_url(broker_url)
    meta = {"status": "FAILURE", "result": {"exc_type": "FilterError", "exc_message": ["There is no field."]},
            "name": newest.TASK, "kwargs": {"user_id": str(ann.user.id)}}  # fmt: skip
    redis.set(f"celery-task-meta-{task_id}", json.dumps(meta))
    redis.close()
    answer = ann.get(f"/task/{task_id}")
    assert answer.status_code == 203
    assert answer.get_json()["error"] == ["There is no field."]
    assert ann.get("/task/x").status_code == 400


def test_without_redis_a_large_page_and_a_task_are_asked_for_again_later(
    ann: Any, offline: flask.Flask, session: Session
) -> None:
    token = accounts.create_token(session, ann.user, name="t")
    session.commit()
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/api/run?pageSize=501", f"/api/task/{uuid.uuid4()}"):
        response = offline.test_client().get(path, headers=headers)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
