"""Pages of runs and results as JSON, for queries that are too large for a request."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
import sqlalchemy.orm
from sqlalchemy.orm import Session

from ibutsu_server.store import filters
from ibutsu_server.store.models import Project, ProjectMember, Result, Run, User

Kind = Literal["runs", "results"]

_MODELS: dict[str, type[Run | Result]] = {"runs": Run, "results": Result}


def visible(user: User, project_id: Any) -> sa.ColumnElement[bool]:
    """Return the condition that the user may see the project that the column names."""
    if user.is_superadmin:
        return sa.true()
    owned = sa.select(Project.id).where(Project.owner_id == user.id)
    joined = sa.select(ProjectMember.project_id).where(ProjectMember.user_id == user.id)
    return sa.cast(project_id.in_(sa.union(owned, joined)), sa.Boolean)


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
    where = [visible(user, model.project_id), *filters.conditions(model, texts)]
    total = session.scalar(sa.select(sa.func.count()).select_from(model).where(*where)) or 0
    query: sa.Select[Any] = sa.select(model).where(*where).order_by(model.start_time.desc(), model.id.desc())
    rows = session.scalars(query.limit(page_size).offset((page - 1) * page_size))
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
