"""Users, projects and groups as administrators and owners see them, tasks sent by hand, and what needs no account."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis


def test_a_user_is_made_logs_in_is_changed_and_deleted(boss: Any) -> None:
    body = {"email": "New@example.com", "password": "secret", "name": "New"}
    made = boss.post("/admin/user", body)
    assert made.status_code == 201
    user = made.get_json()
    assert (user["email"], user["is_superadmin"], user["is_active"]) == ("new@example.com", False, True)
    assert "secret" not in made.text
    login = {"email": "new@example.com", "password": "secret"}
    token = boss.client.post("/api/login", json=login).get_json()["token"]
    assert boss.post("/admin/user", body).status_code == 400
    assert boss.get("/admin/user?filter=email%25new").get_json()["users"] == [user]
    changed = boss.put(f"/admin/user/{user['id']}", {"password": "other", "is_superadmin": True}).get_json()
    assert changed["is_superadmin"] is True
    assert boss.client.post("/api/login", json=login).status_code == 401
    assert boss.client.post("/api/login", json=login | {"password": "other"}).status_code == 200
    assert boss.delete(f"/admin/user/{user['id']}").status_code == 200
    assert boss.get("/user", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert boss.get(f"/admin/user/{user['id']}").status_code == 404


def test_an_inactive_user_cannot_log_in(boss: Any) -> None:
    boss.post("/admin/user", {"email": "a@example.com", "password": "x", "is_active": False})
    assert boss.client.post("/api/login", json={"email": "a@example.com", "password": "x"}).status_code == 401


def test_a_superadmin_cannot_shut_themselves_out(boss: Any) -> None:
    for change in ({"is_active": False}, {"is_superadmin": False}):
        assert boss.put(f"/admin/user/{boss.user.id}", change).status_code == 400
    assert boss.delete(f"/admin/user/{boss.user.id}").status_code == 400


def test_an_e_mail_address_is_taken_over_by_nobody(ann: Any, bob: Any) -> None:
    answers = [ann.put("/user", {"email": email}) for email in ("bob@example.com", "nobody@example.com")]
    assert [one.status_code for one in answers] == [403, 403]
    assert answers[0].text == answers[1].text
    assert ann.put("/user", {"email": "Ann@example.com"}).status_code == 200


def test_who_is_invited_joins_when_they_get_an_account_and_nobody_learns_who_has_one(
    ann: Any, bob: Any, person: Callable[..., Any]
) -> None:
    answers = [
        ann.put(f"/project/{ann.project.id}", {"users": [email]}) for email in ("bob@example.com", "carl@example.com")
    ]
    assert answers[0].get_json() == answers[1].get_json()
    assert bob.get(f"/project/{ann.project.id}").status_code == 200
    assert person("carl").get(f"/project/{ann.project.id}").status_code == 200
    assert person("dora").get(f"/project/{ann.project.id}").status_code == 403


def test_a_project_is_administered_and_deleted_with_all_that_it_has(ann: Any, boss: Any) -> None:
    body = {"name": "shop", "owner_id": str(ann.user.id)}
    made = boss.post("/admin/project", body)
    assert (made.status_code, made.get_json()["owner_id"]) == (201, str(ann.user.id))
    path = f"/admin/project/{made.get_json()['id']}"
    result = ann.result(ann.run(project_id=made.get_json()["id"]))
    alone = ann.post("/result", {"project_id": made.get_json()["id"], "test_id": "of no run"})
    assert alone.status_code == 201
    assert boss.put(path, {"owner_id": str(boss.user.id)}).get_json()["owner_id"] == str(boss.user.id)
    assert boss.put(path, {"owner_id": str(uuid.uuid4())}).status_code == 400
    assert {one["name"] for one in boss.get("/admin/project").get_json()["projects"]} >= {"shop", "ann-project"}
    assert boss.delete(path).status_code == 200
    assert boss.get(path).status_code == 404
    assert boss.get(f"/result/{result['id']}").status_code == 404


def test_the_names_for_filters_come_from_the_newest_result(ann: Any) -> None:
    path = f"/project/filter-params/{ann.project.id}"
    assert ann.get(path).get_json() == []
    run = ann.run()
    ann.result(run, start_time="2024-01-01", metadata={"old": 1})
    ann.result(run, start_time="2024-01-02", metadata={"jenkins": {"job_name": "j"}, "tags": ["a"], "a b": 1})
    names = ann.get(path).get_json()
    assert {"test_id", "result", "duration", "env", "metadata.jenkins.job_name", "metadata.tags"} <= set(names)
    assert not {"metadata.old", "metadata.a b", "metadata.jenkins"} & set(names)
    for name in names:
        assert ann.get("/result", query_string={"filter": f"{name}@y"}).status_code == 200, name


def test_groups_are_seen_through_projects_and_changed_by_their_owner(ann: Any, bob: Any) -> None:
    group = ann.post("/group", {"name": "g"}).get_json()
    assert bob.get("/group").get_json()["groups"] == []
    assert bob.put(f"/project/{bob.project.id}", {"group_id": group["id"]}).status_code == 400
    ann.put(f"/project/{ann.project.id}", {"group_id": group["id"], "users": ["bob@example.com"]})
    assert bob.get("/group").get_json()["groups"] == [group]
    assert bob.put(f"/group/{group['id']}", {"name": "x"}).status_code == 403
    assert ann.put(f"/group/{group['id']}", {"name": "x"}).get_json() == group | {"name": "x"}


@pytest.mark.parametrize(
    ("task", "params", "status"),
    [
        ("runs.update_run", {"run_id": str(uuid.uuid4())}, 202),
        ("db.prune_old_runs", {"months": 12}, 202),
        ("db.prune_old_import_files", {"days": 30}, 202),
        ("runs.sync_aborted_runs", {}, 202),
        ("db.prune_old_runs", {"years": 1}, 400),
        ("runs.update_run", {}, 400),
        ("", {}, 400),
        ("db.drop", {}, 404),
        ("importers.import_results", {}, 404),
    ],
)
def test_a_superadmin_sends_a_task(boss: Any, broker_url: str, task: str, params: dict[str, Any], status: int) -> None:
    body = {"token": boss.token, "task": task, "params": params}
    response = boss.client.post("/admin/run-task", json=body)
    assert response.status_code == status
    redis = Redis.from_url(broker_url)
    sent = [json.loads(message)["headers"]["task"] for message in redis.lrange("ibutsu", 0, -1)]
    redis.close()
    assert sent == ([f"ibutsu_server.tasks.{task}"] if status == 202 else [])
    if status == 202:
        assert response.text == "Accepted"


def test_who_may_not_send_a_task(ann: Any) -> None:
    body = {"task": "runs.sync_aborted_runs", "params": {}}
    assert ann.client.post("/admin/run-task", json=body | {"token": ann.token}).status_code == 403
    assert ann.client.post("/admin/run-task", json=body).status_code == 401
    assert ann.client.post("/admin/run-task", json=body | {"token": "x"}).status_code == 401
    assert ann.client.post("/admin/run-task", data="x").status_code == 400


@pytest.mark.parametrize("path", ["register", "recover"])
def test_nothing_tells_whether_an_account_exists(ann: Any, path: str) -> None:
    answers = [
        ann.client.post(f"/api/login/{path}", json={"email": email, "password": "x"})
        for email in ("ann@example.com", "nobody@example.com")
    ]
    assert (answers[0].status_code, answers[0].text) == (answers[1].status_code, answers[1].text)
    assert answers[0].status_code == 403
