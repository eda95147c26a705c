"""Projects have retention policies of their own, and runs can be pinned."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_project_has_a_policy_of_its_own_until_it_is_given_back(ann: Any, boss: Any) -> None:
    path = f"/project/{ann.project.id}"
    assert ann.get(path).json["retention"] is None
    own = {"artifacts": 4, "results": 8, "runs": 24}
    assert ann.put(path, {"retention": own}).json["retention"] == own
    # What says nothing of it changes nothing, and what is left out is as in the default policy.
    assert ann.put(path, {"title": "Shop", "retention": None}).json["retention"] == own
    partly = {"artifacts": 3, "results": 5, "runs": 36}
    assert boss.put(f"/admin{path}", {"retention": {"runs": 36}}).json["retention"] == partly
    assert ann.get(path).json["retention"] == partly
    assert ann.put(path, {"retention": {}}).json["retention"] is None
    made = ann.post("/project", {"name": "new", "retention": own})
    assert (made.status_code, made.json["retention"]) == (201, own)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"artifacts": 1}, "The retention of artifacts is 1 month, but never less than 2 months."),
        ({"results": 12}, "runs must be kept for longer than results"),
        ({"runs": 1201}, "at most 1200 months"),
        ({"runs": "24"}, "retention.runs"),
        ({"artefacts": 6}, "retention.artefacts"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_a_sentence(ann: Any, policy: Any, said: str) -> None:
    refused = ann.put(f"/project/{ann.project.id}", {"title": "New", "retention": policy})
    assert refused.status_code == 400
    assert said in refused.json["detail"]
    assert ann.get(f"/project/{ann.project.id}").json["title"] is None


def test_a_run_is_pinned_and_keeps_its_summary_when_its_results_are_gone(ann: Any, session: Any) -> None:
    run = ann.run()
    ann.result(run)
    summary = ann.put(f"/run/{run['id']}", {}).json["summary"]
    assert (run["pinned"], summary["tests"]) == (False, 1)
    session.connection().exec_driver_sql("DELETE FROM results")
    session.commit()
    pinned = ann.put(f"/run/{run['id']}/pin").json
    assert (pinned["pinned"], pinned["summary"]) == (True, summary)
    assert [one["id"] for one in ann.get("/run?filter=pinned=true").json["runs"]] == [run["id"]]
    # The public clients send runs without it.
    assert ann.put(f"/run/{run['id']}", {"source": "new"}).json["pinned"] is True
    assert ann.delete(f"/run/{run['id']}/pin").json["pinned"] is False
