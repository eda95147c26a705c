"""Every failure of the API as JSON, `{"detail": sentence}`, with the status that the client can act on."""

from __future__ import annotations

import logging

import flask
import psycopg2
from sqlalchemy import exc
from werkzeug.exceptions import HTTPException

from ibutsu_server.api import limits, operations
from ibutsu_server.store.database import BROKEN_EXPRESSION, LOCK_NOT_AVAILABLE, QUERY_CANCELED, is_transient, state_of

logger = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds after which a client may ask again when the database is away."""

# SQLSTATE, or its class, to the answer: the client sent something that the database refuses.
_REFUSALS = {
    BROKEN_EXPRESSION: (400, "A filter's regular expression is not valid."),
    "22P05": (400, "A text holds a character that the database cannot store."),
    "23503": (409, "The request refers to something that does not exist any more."),
    "23505": (409, "Something with this id or name exists already."),
    "22": (400, "The request holds a value that the database can neither store nor compare."),
    "23": (400, "The request holds a value that the database does not allow."),
    "54": (400, "The request holds a value that is too large for the database."),
}

_AWAY = "The database does not answer at the moment; try again."
_LOCKED = "Something else changes this at the moment, and takes long; try again."


def answer(status: int, detail: str) -> flask.Response:
    """Return the JSON of an error."""
    response = flask.jsonify(detail=detail)
    response.status_code = status
    return response


def register(app: flask.Flask) -> None:
    """Add the handlers to `app`."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(exc.SQLAlchemyError, _database)
    app.register_error_handler(psycopg2.Error, _database)
    app.register_error_handler(Exception, _other)


def _http(error: HTTPException) -> flask.Response:
    response = answer(error.code or 500, error.description or error.name)
    if error.response is not None:
        return flask.make_response(error.response)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _database(error: Exception) -> flask.Response:
    _rollback()
    state = state_of(error)
    if state == QUERY_CANCELED:
        return _too_slow()
    refusal = _REFUSALS.get(state) or _REFUSALS.get(state[:2])
    if refusal is not None:
        return answer(*refusal)
    if is_transient(error):
        logger.warning("The database is away: %s", error)
        response = answer(503, _LOCKED if state == LOCK_NOT_AVAILABLE else _AWAY)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response
    return _other(error)


def _too_slow() -> flask.Response:
    """Blame what lists and widgets ask for, and else the server, though not by Retry-After: it would be slow again."""
    sentence = limits.sentence("The database was given up on, since a query takes longer than", "query_time", "seconds")
    described = operations.of(flask.current_app.view_functions[flask.request.endpoint or ""])
    if flask.request.method == "GET" and described is not None and 422 in described.errors:
        return answer(422, f"{sentence} Narrow the list with filters, or ask for a smaller page.")
    return answer(503, sentence)


def _other(error: Exception) -> flask.Response:
    _rollback()
    if type(error).__module__.startswith("gunicorn.http"):
        return answer(400, "The request's body is malformed or was cut off.")
    logger.error("%s %s failed.", flask.request.method, flask.request.path, exc_info=error)
    return answer(500, "The server failed; its log says why.")


def _rollback() -> None:
    try:
        flask.current_app.extensions["ibutsu_session"].rollback()
    except exc.SQLAlchemyError:
        logger.debug("The rollback failed too.", exc_info=True)
