"""The forms of an answer: one object, or a page of a list."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import flask
import pydantic
import sqlalchemy as sa
from werkzeug.exceptions import BadRequest

from ibutsu_server.api import access
from ibutsu_server.api.schemas import Pagination
from ibutsu_server.store.models import Base

PAGE_SIZE = 25
"""Entries on a page when the client does not say."""

QUERY_TIMEOUT = 60
"""Seconds that the query of a list may take."""

_LARGEST = 2**31 - 1

Row = TypeVar("Row", bound=Base)


def one(value: pydantic.BaseModel, status: int = 200) -> flask.Response:
    """Answer with one object."""
    return flask.Response(value.model_dump_json(), status=status, mimetype="application/json")


def page(
    plural: str,
    model: type[Row],
    serialise: Callable[[Row], pydantic.BaseModel],
    *,
    where: list[sa.ColumnElement[bool]],
    order: list[sa.ColumnElement[Any]],
) -> flask.Response:
    """Answer with the page of the rows that the request's `page` and `pageSize` say; `order` is a total one."""
    number, size = max(_whole("page", 1), 1), _whole("pageSize", PAGE_SIZE)
    if size < 1:
        raise BadRequest("pageSize is below 1.")
    session = access.session()
    session.execute(sa.text(f"SET LOCAL statement_timeout = '{QUERY_TIMEOUT}s'"))
    total = session.scalar(sa.select(sa.func.count()).select_from(model).where(*where)) or 0
    rows: list[Row] = []
    if (number - 1) * size < total:
        query = sa.select(model).where(*where).order_by(*order)
        rows = list(session.scalars(query.limit(size).offset((number - 1) * size)))
    pagination = Pagination(page=number, pageSize=size, totalItems=total, totalPages=-(-total // size))
    entries = ", ".join(serialise(row).model_dump_json() for row in rows)
    text = f'{{{json.dumps(plural)}: [{entries}], "pagination": {pagination.model_dump_json()}}}'
    return flask.Response(text, mimetype="application/json")


def _whole(name: str, default: int) -> int:
    text = flask.request.args.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise BadRequest(f"{name} is not a whole number.") from None
    if abs(number) > _LARGEST:
        raise BadRequest(f"{name} is too large.")
    return number
