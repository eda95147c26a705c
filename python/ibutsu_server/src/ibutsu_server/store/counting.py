"""How many rows a list has in all: exactly, or as the planner estimates it where a client is content with that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from ibutsu_server.store.models import Base

EXACT = 10_000
"""Rows up to which an estimate counts."""

CHEAP = 20_000
"""What may be done to know more, in the planner's units of cost: about a tenth of a second of reading a table."""


def count(session: Session, model: type[Base], where: Sequence[sa.ColumnElement[bool]]) -> int:
    """Return how many rows of `model` the conditions leave."""
    return session.scalar(sa.select(sa.func.count()).select_from(model).where(*where)) or 0


def estimate(session: Session, model: type[Base], where: Sequence[sa.ColumnElement[bool]]) -> tuple[int, bool]:
    """Return about how many rows of `model` the conditions leave, and whether that is the exact number.

    Up to EXACT rows are counted, unless looking for them is known to be no quicker than counting all.
    """
    some = sa.select(sa.literal(1)).select_from(model).where(*where).limit(EXACT + 1)
    counting = sa.select(sa.func.count()).select_from(some.subquery())
    aggregate = plan(session, counting)
    # Below the counting is the limit, and below that the rows without one; where the conditions cannot hold, nothing.
    (limit,) = aggregate["Plans"]
    guess = int(limit.get("Plans", [limit])[0]["Plan Rows"])
    if aggregate["Total Cost"] > CHEAP:
        return guess, False
    counted = session.scalar(counting) or 0
    return (counted, True) if counted <= EXACT else (max(guess, counted), False)


def plan(session: Session, query: sa.Select[Any]) -> dict[str, Any]:
    """Return the outermost node of the query's plan, as `EXPLAIN (FORMAT JSON)` describes it."""
    outermost: dict[str, Any] = session.scalar(_Explain(query))[0]["Plan"]
    return outermost


class _Explain(sa.Executable, sa.ClauseElement):
    """The plan of a query, as JSON."""

    inherit_cache = False

    def __init__(self, query: sa.Select[Any]) -> None:
        self.query = query


@compiles(_Explain)
def _explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.query, **options)}"
