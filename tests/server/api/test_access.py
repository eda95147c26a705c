"""Who may do what: tokens, membership, and what everybody may ask."""

from __future__ import annotations

import datetime as dt
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import flask
import jwt
import pytest
from sqlalchemy.orm import Session

from ibutsu_server.store.models import SigningKey, Token


def test_health_and_login_support_are_public(app: flask.Flask) -> None:
    client = app.test_client()
    assert client.get("/api/health").get_json()["status"] == "OK"
    support = client.get("/api/login/support").get_json()
    assert support == {
        "user": True, "keycloak": False, "google": False, "github": False, "facebook": False, "gitlab": False,
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/health/info", "/health/database", "/run", "/import", "/project", "/user"])
def test_everything_else_needs_a_token(app: flask.Flask, path: str) -> None:
    response = app.test_client().get(f"/api{path}")
    assert response.status_code == 401
    assert response.is_json
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_what_is_no_valid_token_answers_401(ann: Any, session: Session) -> None:
    payload = jwt.decode(ann.token, options={"verify_signature": False})
    key = session.query(SigningKey).first().key  # type: ignore[union-attr]
    past = int(dt.datetime(2020, 1, 1, tzinfo=dt.UTC).timestamp())
    bad = {
        "garbage": "garbage",
        "changed": ann.token[:-4] + "AAAA",
        "other key": jwt.encode(payload, "x" * 64, algorithm="HS256"),
        "no signature": jwt.encode(payload, None, algorithm="none"),
        "expired": jwt.encode(payload | {"exp": past}, key, algorithm="HS256"),
        "unknown id": jwt.encode(payload | {"jti": str(uuid.uuid4())}, key, algorithm="HS256"),
        "strange id": jwt.encode(payload | {"jti": "x"}, key, algorithm="HS256"),
    }
    for name, token in bad.items():
        response = ann.get("/run", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401, name
    assert ann.get("/run", headers={"Authorization": f"Basic {ann.token}"}).status_code == 401
    assert ann.get("/run").status_code == 200


def test_a_login_gives_a_token_that_the_clients_can_read_and_keeps_older_ones(app: flask.Flask, ann: Any) -> None:
    client = app.test_client()
    body = {"email": "Ann@example.com", "password": "ann's password"}
    first, second = (client.post("/api/login", json=body).get_json() for _ in range(2))
    assert first["email"] == "ann@example.com"
    assert isinstance(jwt.decode(first["token"], options={"verify_signature": False})["exp"], int)
    for token in (first["token"], second["token"], ann.token):
        assert ann.get("/user", headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"email": "ann@example.com", "password": "wrong"}, 401),
        ({"email": "", "password": ""}, 401),
        ({"email": "nobody\x00@example.com", "password": "x\ud800"}, 401),
        ({"email": "ann@example.com"}, 400),
        ({"email": 1, "password": True}, 400),
    ],
)
def test_a_wrong_login(ann: Any, body: dict[str, Any], status: int) -> None:
    response = ann.client.post("/api/login", data=json.dumps(body), content_type="application/json")
    assert response.status_code == status
    if status == 401:
        assert set(response.get_json()) == {"code", "message"}


def test_an_inactive_user_has_no_access(ann: Any, session: Session) -> None:
    ann.user.is_active = False
    session.commit()
    assert ann.get("/user").status_code == 401
    login = {"email": "ann@example.com", "password": "ann's password"}
    assert ann.client.post("/api/login", json=login).status_code == 401


def test_tokens_are_made_listed_and_worthless_once_deleted(ann: Any, bob: Any) -> None:
    response = ann.post("/user/token", {"name": "ci", "expires": "2099-01-01T00:00:00+02:00"})
    assert response.status_code == 201
    token = response.get_json()
    assert token["expires"] == "2098-12-31T22:00:00Z"
    claims = jwt.decode(token["token"], options={"verify_signature": False})
    assert claims["exp"] == int(dt.datetime(2098, 12, 31, 22, tzinfo=dt.UTC).timestamp())
    lasting = ann.post("/user/token", {"name": "lasting", "expires": None}).get_json()
    assert lasting["expires"] > "2030"

    listed = ann.get("/user/token").get_json()["tokens"]
    assert token in listed
    assert token not in bob.get("/user/token").get_json()["tokens"]
    assert bob.get(f"/user/token/{token['id']}").status_code == 403
    assert bob.delete(f"/user/token/{token['id']}").status_code == 403

    use = {"Authorization": f"Bearer {token['token']}"}
    assert ann.get("/user", headers=use).status_code == 200
    assert ann.delete(f"/user/token/{token['id']}").status_code == 200
    assert ann.get("/user", headers=use).status_code == 401
    assert ann.get(f"/user/token/{token['id']}").status_code == 404
    assert ann.post("/user/token", {"name": "late", "expires": "2020-01-01"}).status_code == 400
    assert ann.post("/user/token", {"expires": None}).status_code == 400


def test_an_expired_token_row_answers_401(ann: Any, session: Session) -> None:
    for row in session.query(Token):
        row.expires = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    session.commit()
    assert ann.get("/user").status_code == 401


def test_a_user_never_shows_a_password_and_cannot_become_superadmin(ann: Any) -> None:
    response = ann.put("/user", {"name": "Ann", "is_superadmin": True})
    assert response.get_json() == {
        "id": str(ann.user.id), "email": "ann@example.com", "name": "Ann", "is_superadmin": False, "is_active": True,
        "group_id": None,
    }  # fmt: skip
    assert ann.put("/user").status_code == 400


@pytest.fixture
def anns_things(ann: Any) -> dict[str, str]:
    run = ann.run()
    result = ann.result(run)
    form = {"file": (io.BytesIO(b"secret"), "file"), "filename": "a.log", "runId": run["id"]}
    artifact = ann.post("/artifact", data=form).get_json()
    upload = {"importFile": (io.BytesIO(b"<testsuite/>"), "r.xml"), "project": str(ann.project.id)}
    imported = ann.post("/import", data=upload).get_json()
    return {
        "run": run["id"], "result": result["id"], "artifact": artifact["id"], "import": imported["id"],
        "project": str(ann.project.id),
    }  # fmt: skip


def test_strangers_see_and_change_nothing_superadmins_everything(
    bob: Any, boss: Any, anns_things: dict[str, str]
) -> None:
    for kind, known in anns_things.items():
        assert bob.get(f"/{kind}/{known}").status_code == 403, kind
        assert boss.get(f"/{kind}/{known}").status_code == 200, kind
        listed = bob.get(f"/{kind}").get_json()
        assert known not in json.dumps(listed), kind
        assert known in boss.get(f"/{kind}").text, kind
    artifact = anns_things["artifact"]
    for path in (f"/artifact/{artifact}/download", f"/artifact/{artifact}/view"):
        assert bob.get(path).status_code == 403
        assert boss.get(path).data == b"secret"
    assert bob.delete(f"/artifact/{artifact}").status_code == 403
    assert bob.get(f"/artifact?runId={anns_things['run']}").get_json()["artifacts"] == []
    for kind in ("run", "result", "project"):
        assert bob.put(f"/{kind}/{anns_things[kind]}", {"metadata": {"x": 1}, "title": "x"}).status_code == 403
    in_anns = {"project_id": anns_things["project"]}
    assert bob.post("/run", in_anns).status_code == 403
    assert bob.post("/run", {"metadata": {"project": "ann-project"}}).status_code == 403
    assert bob.post("/result", in_anns).status_code == 403
    in_anns_run = {"project_id": str(bob.project.id), "run_id": anns_things["run"]}
    assert bob.post("/result", in_anns_run).status_code == 403
    assert bob.post("/run", {"id": anns_things["run"], "project_id": str(bob.project.id)}).status_code == 403
    form = {"file": (io.BytesIO(b"x"), "file"), "filename": "a.log", "runId": anns_things["run"]}
    assert bob.post("/artifact", data=form).status_code == 403
    upload = {"importFile": (io.BytesIO(b"<testsuite/>"), "r.xml"), "project": "ann-project"}
    assert bob.post("/import", data=upload).status_code == 403


def test_members_see_a_project_but_only_its_owner_changes_it(
    ann: Any, person: Callable[..., Any], anns_things: dict[str, str]
) -> None:
    carl = person("carl", member_of=ann.project)
    for kind, known in anns_things.items():
        assert carl.get(f"/{kind}/{known}").status_code == 200, kind
    assert carl.put(f"/run/{anns_things['run']}", {"source": "carl"}).status_code == 200
    assert carl.put(f"/project/{ann.project.id}", {"title": "Carl's"}).status_code == 403


def test_projects(ann: Any, bob: Any) -> None:
    made = ann.post("/project", {"name": "shop", "title": "The shop"})
    assert made.status_code == 201
    project = made.get_json()
    assert project["owner_id"] == str(ann.user.id)
    assert ann.get("/project?filter=name=shop").get_json()["projects"] == [project]
    assert bob.get("/project?filter=name=shop").get_json()["projects"] == []
    assert ann.get("/project?filter=name=none").get_json()["pagination"]["totalItems"] == 0
    assert ann.post("/project", {"name": "shop"}).status_code == 400
    assert ann.post("/project", {"id": project["id"], "name": "other"}).status_code == 400
    assert ann.post("/project", {"title": "nameless"}).status_code == 400
    assert bob.get(f"/project/{project['id']}").status_code == 403
    changed = ann.put(f"/project/{project['id']}", {"title": "Shop", "users": ["bob@example.com"]})
    assert (changed.status_code, changed.get_json()["title"]) == (200, "Shop")
    assert bob.get(f"/project/{project['id']}").status_code == 200
    owned = ann.get(f"/project?ownerId={ann.user.id}").get_json()["projects"]
    assert {one["name"] for one in owned} == {"shop", "ann-project"}


def test_health_info_and_database(ann: Any, app: flask.Flask, offline: flask.Flask) -> None:
    assert ann.get("/health/info").get_json()["frontend"] == "http://localhost"
    assert ann.get("/health/database").get_json()["status"] == "OK"


def test_a_database_that_is_away_answers_503_and_its_health_500(database: Any, broker_url: str) -> None:
    import dataclasses

    from ibutsu_core.settings import Application, CelerySettings, Settings
    from ibutsu_server import api
    from ibutsu_server.applications import create_flask

    away = dataclasses.replace(database, port=1)
    celery = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    app = create_flask(Settings(application=Application.BACKEND, celery=celery, database=away))
    api.register(app)
    headers = {"Authorization": "Bearer x.y.z"}
    response = app.test_client().get("/api/run", headers=headers)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    health = app.test_client().get("/api/health/database", headers=headers)
    assert (health.status_code, health.get_json()["status"]) == (500, "Error")
