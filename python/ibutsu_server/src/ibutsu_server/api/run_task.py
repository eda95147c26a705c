"""`POST /admin/run-task`: superadmins send a task by hand. It is not under `/api`, and its token is in the body."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import flask
import pydantic
from pydantic import Field, Strict
from werkzeug.exceptions import BadRequest, NotFound, ServiceUnavailable, Unauthorized

from ibutsu_server.api import access, bodies, errors, schemas
from ibutsu_server.api.broker import broker
from ibutsu_server.api.operations import Raw, operation


class _Params(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class _Run(_Params):
    run_id: uuid.UUID


class _Months(_Params):
    months: Annotated[int, Strict(), Field(ge=1, le=1200)]


class _Days(_Params):
    days: Annotated[int, Strict(), Field(ge=1, le=36500)]


TASKS: dict[str, type[_Params]] = {
    "runs.update_run": _Run,
    "runs.sync_aborted_runs": _Params,
    "results.add_result_start_time": _Run,
    "db.prune_old_files": _Months,
    "db.prune_old_results": _Months,
    "db.prune_old_runs": _Months,
    "db.prune_old_import_files": _Days,
}
"""What each task takes; the worker checks the retention policy as a whole."""


def register(app: flask.Flask) -> None:
    """Add the address to `app`."""
    app.add_url_rule("/admin/run-task", view_func=run_task, methods=["POST"])


@operation(
    body=schemas.RunTask, answers={202: Raw("text/plain")}, errors=(401, 403, 404), public=True, other_type=BadRequest
)
def run_task(body: schemas.RunTask) -> flask.Response:
    """Send a task, named without the package: `runs.update_run`, `db.prune_old_runs`, …"""
    if not body.token:
        raise Unauthorized("The body has no token.")
    access.identify_by(body.token)
    access.require_superadmin()
    if not body.task:
        raise BadRequest("The body names no task.")
    params = TASKS.get(body.task)
    if params is None:
        raise NotFound(f"There is no task {body.task[:200]!r}; there are {', '.join(TASKS)}.")
    try:
        arguments: dict[str, Any] = params.model_validate(body.params or {}).model_dump(mode="json")
    except pydantic.ValidationError as error:
        raise BadRequest(f"The params are not right: {bodies.problems(error)}.") from error
    access.session().rollback()
    if not broker().send(f"ibutsu_server.tasks.{body.task}", [], uuid.uuid4(), kwargs=arguments):
        raise ServiceUnavailable("The task queue does not answer; try again.", retry_after=errors.RETRY_AFTER)
    return flask.Response("Accepted", 202, mimetype="text/plain")
