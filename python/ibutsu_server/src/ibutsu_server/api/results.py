"""Results of single tests."""

from __future__ import annotations

import datetime as dt
import uuid

import flask
from werkzeug.exceptions import BadRequest

from ibutsu_server.api import access, answers, newest, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.limits import merged
from ibutsu_server.api.operations import operation
from ibutsu_server.api.runs import places, stored_already
from ibutsu_server.store import summary
from ibutsu_server.store.models import Result, Run


def serialise(result: Result) -> schemas.Result:
    """Return the result as the contract has it."""
    return schemas.Result.model_validate(result)


@api.get("/result")
@operation(query=schemas.ListQuery, answers={200: schemas.Results, 201: schemas.TaskStarted})
def get_results(query: schemas.ListQuery) -> flask.Response:
    """List the results that the user may see, newest first."""
    return newest.page("results", Result, serialise, query)


@api.get("/result/<result_id>")
@operation(answers={200: schemas.Result}, errors=(403, 404))
def get_result(result_id: str) -> flask.Response:
    """Answer with one result."""
    result = access.find(Result, result_id, "result")
    access.require_project(result.project_id)
    return answers.one(serialise(result))


@api.post("/result")
@operation(body=schemas.ResultIn, answers={201: schemas.Result}, errors=(403, 409))
def add_result(body: schemas.ResultIn) -> flask.Response:
    """Store a result; the run's summary counts it at once.

    The same request a second time answers the same; another with its id is refused.
    """
    session = access.session()
    project = access.project_of(body.metadata, body.project_id)
    if project is None:
        raise BadRequest("The result names no project, neither in metadata.project nor in project_id.")
    run = _run_of(body)
    metadata = dict(body.metadata or {})
    promoted = metadata.get("user_properties")
    if isinstance(promoted, dict):
        del metadata["user_properties"]
        metadata = promoted | metadata
    values = body.given("test_id", "start_time", "duration", "result", "source", "params") | places(body)
    values |= {"project_id": project.id, "run_id": run and run.id, "data": metadata}
    stored = stored_already(Result, body.id, values)
    if stored is not None:
        return answers.one(serialise(stored), 201)
    values.setdefault("start_time", dt.datetime.now(dt.UTC))
    result = Result(id=body.id or uuid.uuid4(), **values)
    session.add(result)
    session.flush()
    summary.follow(session, None, _counted(result))
    session.commit()
    return answers.one(serialise(result), 201)


@api.put("/result/<result_id>")
@operation(body=schemas.ResultIn, answers={200: schemas.Result}, errors=(403, 404))
def update_result(result_id: str, body: schemas.ResultIn) -> flask.Response:
    """Replace the given fields and merge the metadata; the run's summary follows."""
    result = access.find(Result, result_id, "result", lock=True)
    access.require_project(result.project_id)
    before = _counted(result)
    session = access.session()
    project = access.project_of(body.metadata, body.project_id)
    run = _run_of(body)
    if project is not None:
        result.project_id = project.id
    if run is not None:
        result.run_id = run.id
    values = body.given("test_id", "start_time", "duration", "result", "source", "params") | places(body)
    for name, value in values.items():
        setattr(result, name, value)
    if body.metadata:
        result.data = merged(result.data, body.metadata)
    session.flush()
    summary.follow(session, before, _counted(result))
    session.commit()
    return answers.one(serialise(result))


def _counted(result: Result) -> summary.Counted:
    return summary.Counted(result.run_id, result.result, result.duration)


def _run_of(body: schemas.ResultIn) -> Run | None:
    named = (body.metadata or {}).get("run")
    if named is None or named == "":
        named = body.run_id
    if named is None:
        return None
    run_id = access.uuid_of(str(named), "run id")
    run = access.session().get(Run, run_id)
    if run is None:
        raise BadRequest(f"There is no run {run_id}.")
    access.require_project(run.project_id)
    return run
