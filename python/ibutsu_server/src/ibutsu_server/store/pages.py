"""Pages of lists: what a user may see of a table, in a total order, and as JSON for who has no request."""

from __future__ import annotations

import datetime as dt
import functools
import operator
import uuid
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
import sqlalchemy.orm
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import operators

from ibutsu_server.store import counting, filters
from ibutsu_server.store.models import Base, Project, ProjectMember, Result, Run, User

Kind = Literal["runs", "results"]

Row = TypeVar("Row", bound=Base)

WORSE = 10
"""How many times what finding all that matches costs reading on may cost, should what matches come last."""


class LargePageError(Exception):
    """The rows of a page are larger than they may be together."""


_MODELS: dict[str, type[Run | Result]] = {"runs": Run, "results": Result}


def visible(session: Session, user: User, project_id: Any) -> sa.ColumnElement[bool]:
    """Return the condition that the user may see the project that the column names.

    It has the projects' ids, not a query for them: so the planner knows how many of the rows they have.
    """
    if user.is_superadmin:
        return sa.true()
    owned = sa.select(Project.id).where(Project.owner_id == user.id)
    joined = sa.select(ProjectMember.project_id).where(ProjectMember.user_id == user.id)
    ids = session.scalars(sa.union(owned, joined)).all()
    return sa.cast(project_id.in_(ids), sa.Boolean)


def newest(model: type[Run | Result]) -> list[sa.ColumnElement[Any]]:
    """Return the order of the newest first, a total one."""
    return [model.start_time.desc(), model.id.desc()]


def fetch(
    session: Session,
    model: type[Row],
    *,
    where: Sequence[sa.ColumnElement[bool]],
    order: Sequence[sa.ColumnElement[Any]],
    page: int,
    page_size: int,
    most_bytes: int,
    estimate: bool = False,
) -> tuple[Sequence[Row], int]:
    """Return the rows of the page, and how many there are in all, with `estimate` about how many.

    `order` is a total one. Nothing is counted where a page is not full: it is the last one. Raises LargePageError,
    before any row is read, where the page has more than one row and these are larger than `most_bytes` together.
    """
    offset = (page - 1) * page_size
    ids = _ids(session, model, where, order=order, limit=page_size, offset=offset).cte("page")
    key = model.__table__.c.id
    sums = sa.select(sa.func.count().label("rows"), sa.func.sum(_bytes(model)).label("bytes"))
    size = sums.join_from(ids, model, key == ids.c.key).subquery("size")
    fits = sa.or_(size.c.rows == 1, size.c.bytes <= most_bytes)
    chosen = sa.select(model, size.c.bytes).select_from(size).outerjoin(sa.join(ids, model, key == ids.c.key), fits)
    found = session.execute(chosen.order_by(*order)).all()
    rows = [row for row, _ in found if row is not None]
    if not rows and found[0].bytes is not None:
        raise LargePageError
    if len(rows) < page_size and (rows or page == 1):
        return rows, offset + len(rows)
    if not estimate:
        return rows, counting.count(session, model, where)
    counted, exact = counting.estimate(session, model, where)
    if not exact:
        counted = max(counted, offset + len(rows)) if rows else min(counted, offset)
    return rows, counted


def _bytes(model: type[Base]) -> sa.ColumnElement[int]:
    """Return about how many bytes of JSON the row is: those of its columns that can be long."""
    columns = model.__table__.columns
    texts = [column for column in columns if isinstance(column.type, sa.Text)]
    documents = [sa.cast(column, sa.Text) for column in columns if isinstance(column.type, JSONB)]
    lengths = [sa.func.coalesce(sa.func.octet_length(text), 0) for text in (*texts, *documents)]
    return functools.reduce(operator.add, lengths)


def _ids(
    session: Session,
    model: type[Base],
    where: Sequence[sa.ColumnElement[bool]],
    *,
    order: Sequence[sa.ColumnElement[Any]],
    limit: int,
    offset: int,
) -> sa.Select[Any]:
    """Return the query for the ids of a page: of the rows that are skipped an index may have all that is looked at.

    The planner believes that what is looked for is spread evenly, so that to read on from the newest it meets a page of
    it soon; but what a build or an environment has in common is in few runs, which can be old ones. So where it would
    read past what does not match, and all that matches is cheap to find, that is found first.
    """
    key = model.__table__.c.id.label("key")
    walk = sa.select(key).where(*where).order_by(*order).limit(limit).offset(offset)
    below = counting.plan(session, walk)["Plans"][0]
    columns = [one.element.label(f"order_{number}") for number, one in enumerate(order)]
    matching = sa.select(key, *columns).where(*where)
    # The cost of what is below a limit is that of reading on to the end.
    cheap = min(below["Total Cost"] / WORSE, counting.CHEAP)
    if "Filter" not in below or counting.plan(session, matching)["Total Cost"] > cheap:
        return walk
    found = matching.cte("found", nesting=True).prefix_with("MATERIALIZED")
    again = [
        found.c[column.name].desc() if one.modifier is operators.desc_op else found.c[column.name].asc()
        for column, one in zip(columns, order, strict=True)
    ]
    return sa.select(found.c.key).order_by(*again).limit(limit).offset(offset)


def query_page(
    session: Session, kind: str, texts: Sequence[str], *, page: int, page_size: int, most_bytes: int, user_id: uuid.UUID
) -> dict[str, Any]:
    """Return the page, newest first, of what the user may see, as the lists of the API answer it.

    Raises FilterError for a filter that cannot be used, LargePageError as `fetch` does, and ValueError for a kind, page
    or user that is none.
    """
    model = _MODELS.get(kind)
    user = session.get(User, user_id)
    if model is None or user is None or not user.is_active or page < 1 or page_size < 1:
        raise ValueError(f"There is no page {page} of {page_size} {kind!r} for the user {user_id}.")
    where = [visible(session, user, model.project_id), *filters.conditions(session, model, texts)]
    rows, total = fetch(
        session, model, where=where, order=newest(model), page=page, page_size=page_size, most_bytes=most_bytes
    )
    return {
        kind: [as_json(row) for row in rows],
        "pagination": {
            "page": page,
            "pageSize": page_size,
            "totalItems": total,
            "totalPages": -(-total // page_size),
        },
    }


def as_json(row: Run | Result) -> dict[str, Any]:
    """Return the row's columns under the contract's names, as values that JSON has."""
    attributes = sa.orm.class_mapper(type(row)).column_attrs
    values = {attribute.columns[0].name: getattr(row, attribute.key) for attribute in attributes}
    if isinstance(row, Result):
        del values["created"]
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return value
