"""Lists of runs and results, newest first. A page too large for a request becomes a task."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TypeVar

import flask
import pydantic
import sqlalchemy as sa
from werkzeug.exceptions import ServiceUnavailable

from ibutsu_server.api import access, answers, errors, filters, schemas
from ibutsu_server.api.broker import broker
from ibutsu_server.api.health import public_url
from ibutsu_server.store import pages
from ibutsu_server.store.models import Result, Run

LARGEST_DIRECT = 500
"""Entries on a page that a request answers itself."""

TASK = "ibutsu_server.tasks.query.query_task"

Row = TypeVar("Row", Run, Result)


def page(
    kind: pages.Kind, model: type[Row], serialise: Callable[[Row], pydantic.BaseModel], query: schemas.ListQuery
) -> flask.Response:
    """Answer with the page that is asked for, or with the task that makes it."""
    where = conditions(model, query.filter)
    if query.pageSize > LARGEST_DIRECT:
        return _started(kind, query)
    return answers.page(kind, model, serialise, query, where=where, order=pages.newest(model))


def conditions(model: type[Run | Result], texts: list[str]) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of rows that the user may see and the filters match."""
    return [access.visible(model.project_id), *filters.conditions(model, texts)]


def _started(kind: pages.Kind, query: schemas.ListQuery) -> flask.Response:
    task_id = uuid.uuid4()
    arguments = {
        "filters": query.filter,
        "page": max(query.page, 1),
        "page_size": query.pageSize,
        "user_id": str(access.user().id),
    }
    # The connection is not kept while Redis is waited for.
    access.session().rollback()
    if not broker().send(TASK, [kind], task_id, kwargs=arguments):
        raise ServiceUnavailable("The task queue does not answer; try again.", retry_after=errors.RETRY_AFTER)
    started = schemas.TaskStarted(
        task_id=task_id,
        message=f"The page is made by a task, since it has more than {LARGEST_DIRECT} entries.",
        query_endpoint=f"{public_url()}/api/task/{task_id}",
    )
    return answers.one(started, 201)
