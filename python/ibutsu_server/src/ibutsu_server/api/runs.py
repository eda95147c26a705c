"""Runs. Their summaries are computed from their results whenever they are created or updated."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, TypeVar

import flask
import sqlalchemy as sa
from werkzeug.exceptions import BadRequest, Conflict, MethodNotAllowed, NotFound, Unauthorized

from ibutsu_server.api import access, answers, newest, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.limits import merged
from ibutsu_server.api.operations import operation
from ibutsu_server.store import pages, summary
from ibutsu_server.store.models import Project, Result, Run

LARGEST_BULK = 25
"""Runs that one bulk update changes at most."""

Reported = TypeVar("Reported", Run, Result)


def serialise(run: Run) -> schemas.Run:
    """Return the run as the contract has it."""
    return schemas.Run.model_validate(run)


@api.get("/run")
@operation(query=schemas.ListQuery, answers={200: schemas.Runs, 201: schemas.TaskStarted})
def get_runs(query: schemas.ListQuery) -> flask.Response:
    """List the runs that the user may see, newest first."""
    return newest.page("runs", Run, serialise, query)


@api.get("/run/<run_id>")
@operation(answers={200: schemas.Run}, errors=(403, 404))
def get_run(run_id: str) -> flask.Response:
    """Answer with one run."""
    run = access.find(Run, run_id, "run")
    access.require_project(run.project_id)
    return answers.one(serialise(run))


@api.post("/run")
@operation(body=schemas.RunIn, answers={201: schemas.Run}, errors=(403, 409))
def add_run(body: schemas.RunIn) -> flask.Response:
    """Store a run. The same request a second time answers the same; another with its id is refused."""
    session = access.session()
    project = access.project_of(body.metadata, body.project_id)
    if project is None:
        raise BadRequest("The run names no project, neither in metadata.project nor in project_id.")
    values = body.given("created", "start_time", "source") | places(body)
    values |= {"project_id": project.id, "data": body.metadata or {}}
    stored = stored_already(Run, body.id, dict(values))
    if stored is not None:
        return answers.one(serialise(stored), 201)
    values.setdefault("start_time", dt.datetime.now(dt.UTC))
    run = Run(id=body.id or uuid.uuid4(), duration=body.duration, summary=summary.claims(body.summary or {}), **values)
    session.add(run)
    _summarise([run])
    return answers.one(serialise(run), 201)


@api.put("/run/<run_id>")
@operation(body=schemas.RunIn, answers={200: schemas.Run}, errors=(403, 404))
def update_run(run_id: str, body: schemas.RunIn) -> flask.Response:
    """Replace the given fields, merge the metadata, and compute the summary anew."""
    run = access.find(Run, run_id, "run")
    access.require_project(run.project_id)
    project = access.project_of(body.metadata, body.project_id)
    if not _locked([run], project):
        raise NotFound(f"There is no run {run_id}.")
    for name, value in (body.given("created", "start_time", "duration", "source") | places(body)).items():
        setattr(run, name, value)
    if body.summary is not None:
        run.summary = summary.claims(body.summary, run.summary)
    if body.metadata:
        run.data = merged(run.data, body.metadata)
    _summarise([run])
    return answers.one(serialise(run))


@api.put("/run/<run_id>/pin")
@operation(answers={200: schemas.Run}, errors=(403, 404))
def pin_run(run_id: str) -> flask.Response:
    """Pin the run: it is never pruned, nor its results and artifacts."""
    return _pinned(run_id, pinned=True)


@api.delete("/run/<run_id>/pin")
@operation(answers={200: schemas.Run}, errors=(403, 404))
def unpin_run(run_id: str) -> flask.Response:
    """Unpin the run, so that the retention policy holds for it again."""
    return _pinned(run_id, pinned=False)


def _pinned(run_id: str, *, pinned: bool) -> flask.Response:
    # Unlike an update this computes no summary: the results of an old run may be gone, which its summary still counts.
    run = access.find(Run, run_id, "run", lock=True)
    access.require_project(run.project_id)
    run.pinned = pinned
    access.session().commit()
    return answers.one(serialise(run))


@api.post("/runs/bulk-update")
@operation(query=schemas.BulkQuery, body=schemas.BulkUpdate, answers={200: schemas.Runs}, errors=(401, 403, 404, 405))
def bulk_update(query: schemas.BulkQuery, body: schemas.BulkUpdate) -> flask.Response:
    """Merge the metadata into the newest runs that the filters match, at most 25; without metadata answer 401."""
    if query.pageSize > LARGEST_BULK:
        raise MethodNotAllowed(["POST"], f"At most {LARGEST_BULK} runs are updated at once.")
    if not body.metadata:
        raise Unauthorized("The body has no metadata.")
    project = access.project_of(body.metadata, None)
    session = access.session()
    chosen = sa.select(Run).where(*newest.conditions(Run, query.filter)).order_by(*pages.newest(Run))
    runs = _locked(session.scalars(chosen.limit(query.pageSize)).all(), project)
    if not runs:
        raise NotFound("No run matches the filters.")
    for run in runs:
        run.data = merged(run.data, body.metadata)
    _summarise(runs)
    count = len(runs)
    pagination = schemas.Pagination(page=1, pageSize=query.pageSize, totalItems=count, totalPages=1)
    return answers.listed("runs", map(serialise, runs), pagination)


def places(body: schemas.RunIn | schemas.ResultIn) -> dict[str, Any]:
    """Return `component` and `env` as far as they are given: by the metadata, else by the fields."""
    found = body.given("component", "env")
    for name in ("component", "env"):
        value = (body.metadata or {}).get(name)
        if isinstance(value, str):
            found[name] = value
    return found


def stored_already(model: type[Reported], key: uuid.UUID | None, values: dict[str, Any]) -> Reported | None:
    """Return the row with this id if it holds these values; raise Conflict if it holds others."""
    stored = access.session().get(model, key) if key else None
    if stored is None:
        return None
    access.require_project(stored.project_id)
    if not _repeats(stored, values):
        raise Conflict(f"There is a {model.__name__.lower()} {key} already; update it with PUT.")
    return stored


def _repeats(stored: Run | Result, values: dict[str, Any]) -> bool:
    """Tell whether the values are what is stored already, whatever has been added since."""
    metadata = values.pop("data", {})
    return all(getattr(stored, name) == value for name, value in values.items()) and all(
        key in stored.data and stored.data[key] == value for key, value in metadata.items()
    )


def _locked(runs: Sequence[Run], project: Project | None) -> list[Run]:
    """Return those of the runs that still exist, read anew and locked, and moved to the project where one is given."""
    session = access.session()
    run_ids = sorted(run.id for run in runs)
    moved = sorted(run.id for run in runs if project is not None and run.project_id != project.id)
    for run_id in moved:
        summary.lock_imports(session, run_id)
    if project is not None and moved:
        results = sa.update(Result).where(Result.run_id.in_(moved)).values(project_id=project.id)
        session.execute(results.execution_options(synchronize_session=False))
    for run_id in run_ids:
        summary.lock_run(session, run_id)
    # The key is left to those that store what refers to the run.
    query = sa.select(Run).where(Run.id.in_(run_ids)).with_for_update(key_share=True)
    locked = {run.id: run for run in session.scalars(query.execution_options(populate_existing=True))}
    for run_id in moved:
        if project is not None and run_id in locked:
            locked[run_id].project_id = project.id
    return [locked[run.id] for run in runs if run.id in locked]


def _summarise(runs: Sequence[Run]) -> None:
    session = access.session()
    session.flush()
    for run in runs:
        summary.update_run(session, run.id)
    session.commit()
    for run in runs:
        session.refresh(run)
