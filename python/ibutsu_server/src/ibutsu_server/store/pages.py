"""Pages of lists: what a user may see of a table, in a total order, and as JSON for who has no request."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
import sqlalchemy.orm
from sqlalchemy.orm import Session
from sqlalchemy.sql import operators

from ibutsu_server.store import counting, filters
from ibutsu_server.store.models import Base, Project, ProjectMember, Result, Run, User

Kind = Literal["runs", "results"]

Row = TypeVar("Row", bound=Base)

CLUSTERED = 10
"""How many times as many rows as are wanted the planner is to expect to look for."""

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
    estimate: bool = False,
) -> tuple[Sequence[Row], int]:
    """Return the rows of the page, and how many there are in all, with `estimate` about how many.

    `order` is a total one. Nothing is counted where the first page is not full: it has all that there are.
    """
    offset = (page - 1) * page_size
    chosen = sa.select(model).where(model.__table__.c.id.in_(_ids(model, where, order, page_size, offset)))
    chosen = chosen.order_by(*order)
    if page == 1:
        rows = session.scalars(chosen).all()
        if len(rows) < page_size:
            return rows, len(rows)
        counted, exact = _total(session, model, where, estimate=estimate)
    else:
        counted, exact = _total(session, model, where, estimate=estimate)
        if exact and counted <= offset:
            return [], counted
        rows = session.scalars(chosen).all()
    if not exact:
        known = offset + len(rows)
        counted = max(counted, known) if len(rows) == page_size else known if rows else min(counted, offset)
    return rows, counted


def _ids(
    model: type[Base],
    where: Sequence[sa.ColumnElement[bool]],
    order: Sequence[sa.ColumnElement[Any]],
    limit: int,
    offset: int,
) -> sa.Select[Any]:
    """Return the query for the ids of a page: of the rows that are skipped an index may have all that is looked at.

    The planner believes that what is looked for is spread evenly, so that to walk from the newest on it meets a page of
    it soon; but what a build or an environment has in common is in few runs, which can be old ones. The inner limit is
    what it plans for; the outer one is where it stops.
    """
    key = model.__table__.c.id.label("key")
    names = [f"order_{number}" for number in range(len(order))]
    columns = [one.element.label(name) for name, one in zip(names, order, strict=True)]
    wide = sa.select(key, *columns).where(*where).order_by(*order).limit(offset + limit * CLUSTERED).subquery("wide")
    again = [
        wide.c[name].desc() if one.modifier is operators.desc_op else wide.c[name].asc()
        for name, one in zip(names, order, strict=True)
    ]
    return sa.select(wide.c.key).order_by(*again).limit(limit).offset(offset)


def _total(
    session: Session, model: type[Base], where: Sequence[sa.ColumnElement[bool]], *, estimate: bool
) -> tuple[int, bool]:
    return counting.estimate(session, model, where) if estimate else (counting.count(session, model, where), True)


def query_page(
    session: Session, kind: str, texts: Sequence[str], *, page: int, page_size: int, user_id: uuid.UUID
) -> dict[str, Any]:
    """Return the page, newest first, of what the user may see, as the lists of the API answer it.

    Raises FilterError for a filter that cannot be used, and ValueError for a kind, page or user that is none.
    """
    model = _MODELS.get(kind)
    user = session.get(User, user_id)
    if model is None or user is None or not user.is_active or page < 1 or page_size < 1:
        raise ValueError(f"There is no page {page} of {page_size} {kind!r} for the user {user_id}.")
    where = [visible(session, user, model.project_id), *filters.conditions(session, model, texts)]
    rows, total = fetch(session, model, where=where, order=newest(model), page=page, page_size=page_size)
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
