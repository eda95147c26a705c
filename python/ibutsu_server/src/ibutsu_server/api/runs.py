"""Runs. Their summaries are computed from their results whenever they are created or updated."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import flask
import sqlalchemy as sa
from werkzeug.exceptions import BadRequest, Conflict

from ibutsu_server.api import access, answers, bodies, filters, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.store import summary
from ibutsu_server.store.metadata import merged
from ibutsu_server.store.models import Result, Run

LOCK_TIMEOUT = 10
"""Seconds to wait for whoever else changes the run."""


def serialise(run: Run) -> schemas.Run:
    """Return the run as the contract has it."""
    return schemas.Run.model_validate(run)


@api.get("/run")
def get_runs() -> flask.Response:
    """List the runs that the user may see, newest first."""
    return answers.page(
        "runs",
        Run,
        serialise,
        where=[access.visible(Run.project_id), *filters.conditions(Run, flask.request.args.getlist("filter"))],
        order=[Run.start_time.desc(), Run.id.desc()],
    )


@api.get("/run/<run_id>")
def get_run(run_id: str) -> flask.Response:
    """Answer with one run."""
    run = access.find(Run, run_id, "run")
    access.require_project(run.project_id)
    return answers.one(serialise(run))


@api.post("/run")
def add_run() -> flask.Response:
    """Store a run. The same request a second time answers the same; another with its id is refused."""
    body = bodies.read(schemas.RunIn)
    session = access.session()
    project = access.project_of(body.metadata, body.project_id)
    if project is None:
        raise BadRequest("The run names no project, neither in metadata.project nor in project_id.")
    values = body.given("created", "start_time", "duration", "source", "summary") | places(body)
    values |= {"project_id": project.id, "data": body.metadata or {}}
    stored = session.get(Run, body.id) if body.id else None
    if stored is not None:
        access.require_project(stored.project_id)
        if not repeats(stored, {name: values[name] for name in values if name not in ("summary", "duration")}):
            raise Conflict(f"There is a run {body.id} already; update it with PUT.")
        return answers.one(serialise(stored), 201)
    values.setdefault("start_time", dt.datetime.now(dt.UTC))
    run = Run(id=body.id or uuid.uuid4(), **values)
    session.add(run)
    return answers.one(serialise(_summarised(run)), 201)


@api.put("/run/<run_id>")
def update_run(run_id: str) -> flask.Response:
    """Replace the given fields, merge the metadata, and compute the summary anew."""
    body = bodies.read(schemas.RunIn)
    lock(access.uuid_of(run_id, "run id"))
    run = access.find(Run, run_id, "run", lock=True)
    access.require_project(run.project_id)
    project = access.project_of(body.metadata, body.project_id)
    if project is not None and project.id != run.project_id:
        run.project_id = project.id
        moved = sa.update(Result).where(Result.run_id == run.id).values(project_id=project.id)
        access.session().execute(moved.execution_options(synchronize_session=False))
    given = body.given("created", "start_time", "duration", "source", "summary") | places(body)
    for name, value in given.items():
        setattr(run, name, value)
    if body.metadata:
        run.data = merged(run.data, body.metadata)
    return answers.one(serialise(_summarised(run)))


def lock(run_id: uuid.UUID) -> None:
    """Take the run's lock, which comes before those of rows; an import that has it long makes the answer 503."""
    access.session().execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))
    summary.lock_run(access.session(), run_id)


def places(body: schemas.RunIn | schemas.ResultIn) -> dict[str, Any]:
    """Return `component` and `env` as far as they are given: by the metadata, else by the fields."""
    found = body.given("component", "env")
    for name in ("component", "env"):
        value = (body.metadata or {}).get(name)
        if isinstance(value, str):
            found[name] = value
    return found


def repeats(stored: Run | Result, values: dict[str, Any]) -> bool:
    """Tell whether the values are what is stored already, whatever has been added since."""
    metadata = values.pop("data", {})
    return all(getattr(stored, name) == value for name, value in values.items()) and all(
        key in stored.data and stored.data[key] == value for key, value in metadata.items()
    )


def _summarised(run: Run) -> Run:
    session = access.session()
    session.flush()
    summary.update_run(session, run.id)
    session.commit()
    session.refresh(run)
    return run
