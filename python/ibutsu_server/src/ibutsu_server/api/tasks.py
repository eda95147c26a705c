"""The tasks that make large pages: how far they are, and what they made."""

from __future__ import annotations

import http
from typing import Any

import flask
import redis
from werkzeug.exceptions import ServiceUnavailable

from ibutsu_server.api import access, errors, newest, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.broker import broker
from ibutsu_server.api.operations import operation

_FAILED = frozenset(("FAILURE", "REVOKED"))


@api.get("/task/<task_id>")
@operation(answers={200: schemas.TaskRuns | schemas.TaskResults, 203: schemas.TaskFailure, 206: schemas.TaskState})
def get_task(task_id: str) -> flask.Response:
    """Answer with what the task made, or with how far it is.

    A task that nobody knows is pending, and so is another user's: its page is for who asked for it.
    """
    key = access.uuid_of(task_id, "task id")
    user_id, sees_all = str(access.user().id), access.user().is_superadmin
    access.session().rollback()
    try:
        task = broker().state(key) or {}
    except (redis.RedisError, OSError) as error:
        raise ServiceUnavailable(
            "The task queue does not answer; try again.", retry_after=errors.RETRY_AFTER
        ) from error
    asked_by = (task.get("kwargs") or {}).get("user_id")
    if task.get("name") != newest.TASK or not (sees_all or asked_by == user_id):
        task = {}
    state = task.get("status", "PENDING")
    if state == "SUCCESS":
        return _answer(200, state, "The page is made.", **task["result"])
    if state in _FAILED:
        return _answer(203, state, "The page could not be made.", error=_reason(task.get("result")))
    return _answer(206, state, "The page is not made yet.")


def _answer(status: int, state: str, message: str, **more: Any) -> flask.Response:
    response = flask.jsonify(state=state, message=message, **more)
    response.status_code = http.HTTPStatus(status)
    return response


def _reason(error: Any) -> list[str]:
    said = error.get("exc_message") if isinstance(error, dict) else None
    lines = said if isinstance(said, list) else [said]
    return [str(line) for line in lines if line] or ["The log of the worker says why."]
