"""Every operation of the API: who is kept out of it, and that each documented status is real.

An operation that is missing in `CALLS` fails both tests.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Literal

import flask
import pytest
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from ibutsu_server.api import newest, openapi, schemas
from ibutsu_server.store.models import Import

World = dict[str, Any]
"""Ann's things by the names of paths' parameters, and the token of who asks."""

Stranger = Literal["refused", "sees nothing", "own", "public", "superadmins only"]
"""What becomes of Bob, who knows all of Ann's ids: "own" is what only touches who asks."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that succeeds for Ann, or for a superadmin. `also` are requests for the other documented statuses."""

    stranger: Stranger
    query: str = ""
    json: Callable[[World], Any] | None = None
    form: Callable[[World], dict[str, Any]] | None = None
    also: tuple[Callable[[World], dict[str, Any]], ...] = ()


def empty(_: World) -> dict[str, Any]:
    return {}


def field(name: str, value: Any) -> Callable[[World], dict[str, Any]]:
    return lambda _: {name: value}


def artifact_of(world: World, **changes: Any) -> dict[str, Any]:
    return {"file": (io.BytesIO(b"x"), "file"), "filename": "a.log", "runId": world["run_id"]} | changes


def upload_to(world: World, **changes: Any) -> dict[str, Any]:
    return {"importFile": (io.BytesIO(b"<testsuite/>"), "r.xml"), "project": world["project_id"]} | changes


def task(name: str, **params: Any) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"token": world["token"], "task": name, "params": params}


def taken(source: str) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"json": {"id": TAKEN, "source": source, "project_id": world["project_id"]}}


LARGE = "x" * (1024 * 1024 + 1)
DEEP = '{"a":' * 250 + "0" + "}" * 250
IN_PROJECT: Callable[[World], dict[str, Any]] = lambda world: {"project_id": world["project_id"]}  # noqa: E731
TAKEN = "11111111-1111-4111-8111-111111111111"

CALLS: dict[str, Call] = {
    "GET /api/health": Call(stranger="public"),
    "GET /api/health/database": Call(stranger="own"),
    "GET /api/health/info": Call(stranger="own"),
    "POST /api/login": Call(
        stranger="public",
        json=lambda _: {"email": "boss@example.com", "password": "boss's password"},
        also=(lambda _: {"json": {"email": "nobody@example.com", "password": "wrong"}},) * 11,
    ),
    "GET /api/login/support": Call(stranger="public"),
    "GET /api/login/config/{provider}": Call(stranger="public"),
    "GET /api/login/auth/{provider}": Call(stranger="public"),
    "POST /api/login/register": Call(stranger="public", json=lambda _: {"email": "ann@example.com", "password": "x"}),
    "POST /api/login/recover": Call(stranger="public", json=field("email", "ann@example.com")),
    "POST /api/login/reset-password": Call(stranger="public", json=lambda _: {"activation_code": "x", "password": "x"}),
    "GET /api/login/activate/{code}": Call(stranger="public"),
    "GET /api/user": Call(stranger="own"),
    "PUT /api/user": Call(
        stranger="own", json=field("name", "New"), also=(lambda _: {"json": {"email": "ann@example.org"}},)
    ),
    "GET /api/user/token": Call(stranger="own"),
    "POST /api/user/token": Call(stranger="own", json=field("name", "new")),
    "GET /api/user/token/{token_id}": Call(stranger="refused"),
    "DELETE /api/user/token/{token_id}": Call(stranger="refused"),
    "GET /api/project": Call(stranger="sees nothing"),
    "POST /api/project": Call(stranger="own", json=lambda _: {"name": uuid.uuid4().hex}),
    "GET /api/project/{project_id}": Call(stranger="refused"),
    "PUT /api/project/{project_id}": Call(stranger="refused", json=field("title", "New")),
    "GET /api/project/filter-params/{project_id}": Call(stranger="refused"),
    "GET /api/group": Call(stranger="sees nothing"),
    "POST /api/group": Call(
        stranger="own", json=field("name", "new"), also=(lambda _: {"json": {"id": TAKEN, "name": "x"}},) * 2
    ),
    "GET /api/group/{group_id}": Call(stranger="refused"),
    # Bob sees this group: it is that of a project of which he is a member.
    "PUT /api/group/{group_id}": Call(
        stranger="refused",
        json=field("name", "New"),
        also=(lambda world: {"group_id": world["shared_group"], "token": world["bobs_token"]},),
    ),
    "GET /api/run": Call(stranger="sees nothing", also=(lambda _: {"query": "pageSize=501"},)),
    "POST /api/run": Call(
        stranger="refused",
        json=IN_PROJECT,
        also=tuple(
            lambda world, source=source: {"json": {"id": TAKEN, "source": source} | IN_PROJECT(world)}
            for source in "ab"
        ),
    ),
    "GET /api/run/{run_id}": Call(stranger="refused"),
    "PUT /api/run/{run_id}": Call(stranger="refused", json=field("source", "new")),
    "PUT /api/run/{run_id}/pin": Call(stranger="refused"),
    "DELETE /api/run/{run_id}/pin": Call(stranger="refused"),
    "POST /api/runs/bulk-update": Call(
        stranger="refused",
        json=field("metadata", {"new": 1}),
        query="filter=metadata.secret@y",
        also=(
            lambda _: {"query": "pageSize=26"},
            lambda _: {"query": "filter=source=nothing"},
            lambda world: {"json": {"metadata": {"project": world["bobs_project"]}}},
        ),
    ),
    "GET /api/result": Call(stranger="sees nothing", also=(lambda _: {"query": "pageSize=501"},)),
    "POST /api/result": Call(
        stranger="refused",
        json=IN_PROJECT,
        also=tuple(
            lambda world, source=source: {"json": {"id": TAKEN, "source": source} | IN_PROJECT(world)}
            for source in "ab"
        ),
    ),
    "GET /api/result/{result_id}": Call(stranger="refused"),
    "PUT /api/result/{result_id}": Call(stranger="refused", json=field("source", "new")),
    "GET /api/artifact": Call(stranger="sees nothing"),
    "POST /api/artifact": Call(
        stranger="refused",
        form=artifact_of,
        also=(
            lambda world: {"form": artifact_of(world, filename=LARGE)},
            lambda world: {"form": artifact_of(world, additionalMetadata=DEEP)},
            lambda world: {"form": artifact_of(world, runId=str(uuid.uuid4()))},
        ),
    ),
    "GET /api/artifact/{artifact_id}": Call(stranger="refused"),
    "GET /api/artifact/{artifact_id}/download": Call(stranger="refused"),
    "GET /api/artifact/{artifact_id}/view": Call(stranger="refused"),
    "DELETE /api/artifact/{artifact_id}": Call(stranger="refused"),
    "GET /api/import": Call(stranger="sees nothing"),
    "POST /api/import": Call(
        stranger="refused",
        form=upload_to,
        also=(
            lambda world: {"form": upload_to(world, source=LARGE)},
            lambda world: {"form": upload_to(world, metadata=DEEP)},
        ),
    ),
    "GET /api/import/{import_id}": Call(stranger="refused"),
    "POST /api/import/{import_id}/retry": Call(
        stranger="refused", also=(lambda world: {"import_id": world["running_import"]},)
    ),
    "GET /api/task/{task_id}": Call(
        stranger="own",
        also=(lambda world: {"task_id": world["failed_task"]}, lambda world: {"task_id": str(uuid.uuid4())}),
    ),
    "GET /api/widget/types": Call(stranger="own"),
    "GET /api/widget/{widget}": Call(
        stranger="own",
        also=(
            lambda world: {"query": f'params={{"project":"{world["bobs_project"]}"}}'},
            lambda _: {"query": f"params={DEEP}"},
        ),
    ),
    "GET /api/widget-config": Call(stranger="sees nothing"),
    "POST /api/widget-config": Call(
        stranger="refused",
        json=lambda world: {"widget": "result-summary"} | IN_PROJECT(world),
        also=(lambda _: {"json": {"id": TAKEN, "widget": "result-summary"}},) * 2,
    ),
    "GET /api/widget-config/{config_id}": Call(stranger="refused"),
    "PUT /api/widget-config/{config_id}": Call(stranger="refused", json=field("title", "New")),
    "DELETE /api/widget-config/{config_id}": Call(stranger="refused"),
    "GET /api/dashboard": Call(stranger="sees nothing"),
    "POST /api/dashboard": Call(
        stranger="refused", json=IN_PROJECT, also=(lambda _: {"json": {"id": TAKEN, "title": "x"}},) * 2
    ),
    "GET /api/dashboard/{dashboard_id}": Call(stranger="refused"),
    "PUT /api/dashboard/{dashboard_id}": Call(stranger="refused", json=field("title", "New")),
    "DELETE /api/dashboard/{dashboard_id}": Call(stranger="refused"),
    "GET /api/admin/maintenance": Call(stranger="superadmins only"),
    "GET /api/admin/user": Call(stranger="superadmins only"),
    "POST /api/admin/user": Call(stranger="superadmins only", json=field("email", "new@example.com")),
    "GET /api/admin/user/{user_id}": Call(stranger="superadmins only"),
    "PUT /api/admin/user/{user_id}": Call(stranger="superadmins only", json=field("name", "New")),
    "DELETE /api/admin/user/{user_id}": Call(stranger="superadmins only"),
    "GET /api/admin/project": Call(stranger="superadmins only"),
    "POST /api/admin/project": Call(stranger="superadmins only", json=lambda _: {"name": uuid.uuid4().hex}),
    "GET /api/admin/project/{project_id}": Call(stranger="superadmins only"),
    "PUT /api/admin/project/{project_id}": Call(stranger="superadmins only", json=field("title", "New")),
    "DELETE /api/admin/project/{project_id}": Call(stranger="superadmins only"),
    "POST /admin/run-task": Call(
        stranger="superadmins only",
        json=task("runs.sync_aborted_runs"),
        also=(
            lambda world: {"json": task("runs.none")(world)},
            lambda world: {"json": task("")(world)},
            lambda world: {"json": {"task": "runs.sync_aborted_runs"}},
        ),
    ),
}

UNDESCRIBED = {
    "/api/openapi.json": "the document itself",
    "/api/ui/": "its page",
    "/api/ui/<path:path>": "its page",
    "/api/ui/dist/<path:filename>": "its page",
    "/project/<project_id>/runs/<run_id>": "a page without data",
    "/static/<path:filename>": "files of the pages",
}


def operations(app: flask.Flask) -> dict[str, Any]:
    return {f"{method} {path}": found for method, path, _, found in openapi.described(app)}


def request(client: FlaskClient, key: str, world: World, call: Call, **changes: Any) -> TestResponse:
    """Ask as `world["token"]` says; `changes` replaces the call's parts, or things of the world."""
    changes = dict(changes)
    query, form, body = changes.pop("query", call.query), changes.pop("form", None), changes.pop("json", None)
    options = changes.pop("options", {})
    world = world | changes
    method, path = key.split(" ")
    headers = {"Authorization": f"Bearer {world['token']}"} if world["token"] else {}
    if form is None and call.form:
        form = call.form(world)
    if body is None and call.json:
        body = call.json(world)
    if "data" not in options and form is not None:
        values = {name: FileStorage(*value) if isinstance(value, tuple) else value for name, value in form.items()}
        boundary, data = encode_multipart(values)
        options |= {"data": data, "content_type": f"multipart/form-data; boundary={boundary}"}
    elif "data" not in options and body is not None:
        options |= {"json": body}
    url = f"{path.format_map(world)}?{query}"
    return client.open(url, method=method, headers=headers, buffered=True, **options)


@pytest.fixture
def world(ann: Any, bob: Any, session: Session, broker_url: str) -> Iterator[World]:
    def made(path: str, **body: Any) -> str:
        response = ann.post(path, body)
        assert response.status_code == 201, response.text
        created: str = response.get_json()["id"]
        return created

    project_id = str(ann.project.id)
    run = ann.run(metadata={"secret": "anns secret"})
    result = ann.result(run, metadata={"secret": "anns secret"})
    shared_group = made("/group", name="a shared group")
    made("/project", name="shared", group_id=shared_group, users=["bob@example.com"])
    made("/dashboard", title="anns secret")
    made("/widget-config", widget="result-summary", title="anns secret")
    bytes_of_its_own = (io.BytesIO(b"<testsuite></testsuite>"), "failed.xml")
    failed = ann.post("/import", data={"importFile": bytes_of_its_own, "project": project_id}).get_json()["id"]
    row = session.get(Import, uuid.UUID(failed))
    assert row is not None
    row.status, row.error = "error", "anns secret"
    bytes_of_its_own = (io.BytesIO(b"<testsuite> </testsuite>"), "running.xml")
    running = ann.post("/import", data={"importFile": bytes_of_its_own, "project": project_id}).get_json()["id"]
    session.get_one(Import, uuid.UUID(running)).status = "running"
    session.commit()
    redis = Redis.from_url(broker_url)
    tasks = {"task_id": uuid.uuid4(), "failed_task": uuid.uuid4()}
    pagination = {"page": 1, "pageSize": 501, "totalItems": 1, "totalPages": 1}
    outcomes = {
        "task_id": ("SUCCESS", {"runs": [run], "pagination": pagination}),
        "failed_task": ("FAILURE", {"exc_type": "FilterError", "exc_message": ["anns secret"]}),
    }
    for name, (status, outcome) in outcomes.items():
        meta = {"status": status, "result": outcome, "name": newest.TASK, "kwargs": {"user_id": str(ann.user.id)}}
        redis.set(f"celery-task-meta-{tasks[name]}", json.dumps(meta))
    yield {
        "run_id": run["id"],
        "result_id": result["id"],
        "artifact_id": ann.post("/artifact", data=artifact_of({"run_id": run["id"]})).get_json()["id"],
        "import_id": failed,
        "running_import": running,
        "project_id": project_id,
        "group_id": made("/group", name="anns secret"),
        "dashboard_id": made("/dashboard", title="anns secret", project_id=project_id),
        "config_id": made("/widget-config", widget="result-summary", title="anns secret", project_id=project_id),
        "token_id": made("/user/token", name="anns secret"),
        "user_id": str(ann.user.id),
        **{name: str(key) for name, key in tasks.items()},
        "provider": "github",
        "code": "some-code",
        "widget": "result-summary",
        "shared_group": shared_group,
        "bobs_project": str(bob.project.id),
        "bobs_token": bob.token,
    }
    redis.close()


def test_every_address_is_described_and_has_its_place_here(app: flask.Flask) -> None:
    assert set(CALLS) == set(operations(app))
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    assert {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in rules - set(UNDESCRIBED)} == {
        key.partition(" ")[2] for key in CALLS
    }


def test_a_stranger_who_knows_all_ids_sees_and_changes_nothing(ann: Any, bob: Any, world: World) -> None:
    def anns_things() -> list[Any]:
        reads = [key for key in CALLS if key.startswith("GET") and CALLS[key].stranger in ("refused", "sees nothing")]
        return [request(ann.client, key, world | {"token": ann.token}, CALLS[key]).data for key in reads]

    # Bob knows Ann's own id by the project that they share.
    hidden = {world[name] for name in world if name.endswith("_id")} - {world["user_id"]}
    hidden |= {"anns secret", "ann-project", "ann@example.com"}
    before = anns_things()
    for key, call in CALLS.items():
        response = request(bob.client, key, world | {"token": bob.token}, call)
        if call.stranger == "superadmins only":
            assert response.status_code == 403, key
        elif call.stranger == "refused":
            assert response.status_code in (403, 404), key
        elif call.stranger != "public":
            assert response.status_code < 300, key
        told = response.text.replace(world["group_id"], "") if response.status_code == 404 else response.text
        assert not [one for one in hidden if one in told], key
    assert anns_things() == before


@pytest.fixture
def seen(away: flask.Flask, ann: Any, bob: Any, boss: Any, world: World) -> dict[str, set[int]]:
    """The statuses of every operation, asked in all the ways that `CALLS` names; what deletes comes last."""
    unknown = {name: str(uuid.uuid4()) for name in world if name.endswith("_id")} | {"widget": "nothing"}
    found: dict[str, set[int]] = defaultdict(set)
    described = operations(away)
    for key in sorted(CALLS, key=lambda key: (key.startswith("DELETE"), "admin" in key)):
        call = CALLS[key]
        known = world | {"token": (boss if call.stranger == "superadmins only" else ann).token}
        asked = [
            {"token": "x.y.z"},
            {"token": bob.token},
            {"query": "x=%00"},
            unknown,
            *(also(known) for also in call.also),
            {},
            *(also(known) for also in call.also),
        ]
        if call.json or call.form:
            asked += [
                {"options": {"data": "x", "content_type": "text/plain"}},
                {"options": {"data": "{}", "content_type": "application/json"}},
            ]
        if call.json:
            asked.append({"options": {"data": "{}", "environ_overrides": {"CONTENT_LENGTH": str(1 << 40)}}})
            asked.append({"options": {"data": DEEP, "content_type": "application/json"}})
        if issubclass(described[key].query or object, schemas.PageQuery):
            asked.append({"query": "pageSize=10001"})
        if key.startswith("DELETE"):
            asked.sort(key=lambda changes: changes == {})
        responses = [request(ann.client, key, known, call, **changes) for changes in asked]
        responses.append(request(away.test_client(), key, known, call))
        found[key] = {response.status_code for response in responses}
    return found


def test_each_documented_status_is_real_and_there_is_no_other(app: flask.Flask, seen: dict[str, set[int]]) -> None:
    documented = {key: set(found.answers) | found.errors for key, found in operations(app).items()}
    assert {key: (seen[key] - documented[key], documented[key] - seen[key]) for key in CALLS} == {
        key: (set(), set()) for key in CALLS
    }
