"""The forms of an answer: one object, or a page of a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import flask
import pydantic
import sqlalchemy as sa

from ibutsu_server.api import access, schemas
from ibutsu_server.store import pages
from ibutsu_server.store.models import Base

Row = TypeVar("Row", bound=Base)


def one(value: pydantic.BaseModel, status: int = 200) -> flask.Response:
    """Answer with one object."""
    return flask.Response(value.model_dump_json(), status=status, mimetype="application/json")


def page(
    plural: str,
    model: type[Row],
    serialise: Callable[[Row], pydantic.BaseModel],
    query: schemas.PageQuery,
    *,
    where: list[sa.ColumnElement[bool]],
    order: list[sa.ColumnElement[Any]],
) -> flask.Response:
    """Answer with the page of the rows that is asked for; `order` is a total one."""
    number, size = max(query.page, 1), query.pageSize
    session = access.session()
    estimate = isinstance(query, schemas.ListQuery) and query.estimate
    rows, total = pages.fetch(session, model, where=where, order=order, page=number, page_size=size, estimate=estimate)
    pagination = schemas.Pagination(page=number, pageSize=size, totalItems=total, totalPages=-(-total // size))
    return listed(plural, [serialise(row) for row in rows], pagination)


def listed(plural: str, entries: Iterable[pydantic.BaseModel], pagination: schemas.Pagination) -> flask.Response:
    """Answer with these entries of a list."""
    joined = ", ".join(entry.model_dump_json() for entry in entries)
    text = f'{{{json.dumps(plural)}: [{joined}], "pagination": {pagination.model_dump_json()}}}'
    return flask.Response(text, mimetype="application/json")


def message(text: str) -> flask.Response:
    """Answer with a sentence that says what was done."""
    return one(schemas.Message(message=text))
