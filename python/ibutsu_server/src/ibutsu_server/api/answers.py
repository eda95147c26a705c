"""The forms of an answer: one object, or a page of a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import flask
import pydantic
import sqlalchemy as sa
from werkzeug.exceptions import UnprocessableEntity

from ibutsu_server.api import access, limits, schemas
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
    most = limits.current().page_bytes
    try:
        rows, total = pages.fetch(
            session, model, where=where, order=order, page=number, page_size=size, most_bytes=most, estimate=estimate
        )
    except pages.LargePageError as error:
        sentence = limits.sentence("The page is larger than", "page_bytes", "bytes")
        raise UnprocessableEntity(f"{sentence} Ask for a smaller page.") from error
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
