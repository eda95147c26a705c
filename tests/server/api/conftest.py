"""The API in the test's process, on a real database and a real Redis, and people who ask it."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import flask
import jsonschema_rs
import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from ibutsu_core.limits import ApiLimits, LoginLimits
from ibutsu_core.settings import Application, CelerySettings, DatabaseSettings, Settings
from ibutsu_server import api
from ibutsu_server.api import openapi
from ibutsu_server.applications import create_flask
from ibutsu_server.store import accounts
from ibutsu_server.store.models import Project, ProjectMember, User


def make_app(database: DatabaseSettings, redis_url: str, **settings: Any) -> flask.Flask:
    celery = CelerySettings(broker_url=redis_url, result_backend=redis_url)
    app = create_flask(Settings(application=Application.BACKEND, celery=celery, database=database, **settings))
    api.register(app)
    return app


class Conformance:
    """Compares each answer of an application with the OpenAPI document, which is the same for all applications."""

    document: ClassVar[dict[str, Any]] = {}

    def __init__(self, app: flask.Flask) -> None:
        self.document.update({} if self.document else openapi.document(app))
        self.problems: list[str] = []
        app.after_request(self.check)

    def check(self, response: flask.Response) -> flask.Response:
        request = flask.request
        path = re.sub(r"<(\w+)>", r"{\1}", request.url_rule.rule) if request.url_rule else ""
        described = self.document["paths"].get(path, {}).get(request.method.lower())
        if described is not None:
            self.problems += [f"{request.method} {path}: {response.status_code} {problem}"
                              for problem in self._problems(described, response)]  # fmt: skip
        return response

    def _problems(self, described: dict[str, Any], response: flask.Response) -> Iterator[str]:
        known = described["responses"].get(str(response.status_code))
        if known is None:
            yield "is not documented"
            return
        ((media_type, content),) = known["content"].items()
        if media_type not in ("*/*", response.mimetype):
            yield f"is {response.mimetype}"
        if media_type == "application/json":
            schema = {**content["schema"], "components": self.document["components"]}
            for error in jsonschema_rs.Draft202012Validator(schema, validate_formats=True).iter_errors(response.json):
                yield f"{list(error.instance_path)}: {error.message}"


@pytest.fixture
def app(database: DatabaseSettings, broker_url: str) -> Iterator[flask.Flask]:
    app = make_app(database, broker_url)
    conformance = Conformance(app)
    yield app
    assert conformance.problems == []
    assert app.extensions["ibutsu_engine"].pool.checkedout() == 0, "A request kept its connection."
    app.extensions["ibutsu_engine"].dispose()


@pytest.fixture
def session(app: flask.Flask) -> Iterator[Session]:
    with Session(app.extensions["ibutsu_engine"], expire_on_commit=False) as session:
        yield session


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody with a token; `project` is one that they own."""

    client: FlaskClient
    token: str
    user: User
    project: Project

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        if isinstance(options.get("data"), dict):
            options |= as_form(options["data"])
        return self.client.open(f"/api{path}", method=method, headers=headers, buffered=True, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self("PUT", path, json=json, **options)

    def delete(self, path: str) -> TestResponse:
        return self("DELETE", path)

    def run(self, **fields: Any) -> dict[str, Any]:
        fields = {"project_id": str(self.project.id), **fields}
        return created(self.post("/run", fields))

    def result(self, run: dict[str, Any], **fields: Any) -> dict[str, Any]:
        fields = {"project_id": run["project_id"], "run_id": run["id"], "test_id": "t", "result": "passed"} | fields
        return created(self.post("/result", fields))


def created(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.get_json()
    return body


def as_form(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as a multipart body; a file is (stream, name)."""
    values = {name: FileStorage(*value) if isinstance(value, tuple) else value for name, value in fields.items()}
    boundary, body = encode_multipart(values)
    return {"data": body, "content_type": f"multipart/form-data; boundary={boundary}"}


@pytest.fixture
def person(app: flask.Flask, session: Session) -> Callable[..., Person]:
    def make(name: str, *, superadmin: bool = False, member_of: Project | None = None) -> Person:
        email = f"{name}@example.com"
        user = accounts.ensure_user(session, email=email, password=f"{name}'s password", is_superadmin=superadmin)
        project = Project(id=uuid.uuid4(), name=f"{name}-project", owner_id=user.id)
        session.add(project)
        session.flush()
        if member_of is not None:
            session.add(ProjectMember(project_id=member_of.id, user_id=user.id))
        token = accounts.create_token(session, user, name="test")
        session.commit()
        return Person(client=app.test_client(), token=token, user=user, project=project)

    return make


@pytest.fixture
def ann(person: Callable[..., Person]) -> Person:
    return person("ann")


@pytest.fixture
def bob(person: Callable[..., Person]) -> Person:
    return person("bob")


@pytest.fixture
def boss(person: Callable[..., Person]) -> Person:
    return person("boss", superadmin=True)


@pytest.fixture
def away(database: DatabaseSettings, broker_url: str) -> Iterator[flask.Flask]:
    """The API with a database that is away."""
    app = make_app(dataclasses.replace(database, port=1), broker_url)
    yield app
    app.extensions["ibutsu_engine"].dispose()


@pytest.fixture
def limited(database: DatabaseSettings, broker_url: str) -> Iterator[Callable[..., flask.Flask]]:
    """The API with other limits than the ordinary ones."""
    made: list[flask.Flask] = []

    def make(*, redis_url: str = broker_url, proxies: int = 0, **limits: int) -> flask.Flask:
        of_logins = {name: limits.pop(name) for name in LoginLimits.__slots__ if name in limits}
        settings = {"api_limits": ApiLimits(**limits), "login_limits": LoginLimits(**of_logins)}
        made.append(make_app(database, redis_url, trusted_proxies=proxies, **settings))
        return made[-1]

    yield make
    for app in made:
        app.extensions["ibutsu_engine"].dispose()


@pytest.fixture
def offline(database: DatabaseSettings, broker_url: str) -> Iterator[flask.Flask]:
    """The API with a Redis that is away."""
    app = make_app(database, "redis://127.0.0.1:1/0")
    yield app
    app.extensions["ibutsu_engine"].dispose()
