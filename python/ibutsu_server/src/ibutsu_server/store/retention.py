"""What retention deletes, in bounded batches, each a short transaction of its own."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.retention import Kind

BATCH = 2000
"""Rows that one transaction deletes at most."""

# The age of an artifact is that of its upload; of a run or result, when it started, else when it was stored.
_AGES: Mapping[Kind, str] = {
    Kind.ARTIFACTS: "upload_date",
    Kind.RESULTS: "coalesce(start_time, created)",
    Kind.RUNS: "coalesce(start_time, created)",
}


@dataclasses.dataclass(slots=True)
class Pruned:
    """What was deleted, or would be: rows of each table, and the artifacts' bytes."""

    runs: int = 0
    results: int = 0
    artifacts: int = 0
    bytes: int = 0


def _doomed(kind: Kind) -> str:
    return f"SELECT id FROM {kind.value} WHERE {_AGES[kind]} < :cutoff"  # noqa: S608 - names from this module


def count(session: Session, kind: Kind, cutoff: dt.datetime) -> Pruned:
    """Count what `prune` would delete."""
    runs = _doomed(Kind.RUNS) if kind is Kind.RUNS else "SELECT NULL::uuid WHERE false"
    results = _doomed(Kind.RESULTS) if kind is Kind.RESULTS else "SELECT NULL::uuid WHERE false"
    artifacts = _doomed(Kind.ARTIFACTS) if kind is Kind.ARTIFACTS else "SELECT NULL::uuid WHERE false"
    statement = f"""
        WITH old_runs AS ({runs}),
        old_results AS ({results} UNION SELECT id FROM results WHERE run_id IN (SELECT id FROM old_runs)),
        old_artifacts AS (
            SELECT id, size FROM artifacts
            WHERE id IN ({artifacts})
               OR result_id IN (SELECT id FROM old_results) OR run_id IN (SELECT id FROM old_runs)
        )
        SELECT (SELECT count(*) FROM old_runs), (SELECT count(*) FROM old_results),
               (SELECT count(*) FROM old_artifacts), (SELECT coalesce(sum(size), 0) FROM old_artifacts)
    """  # noqa: S608 - names from this module
    row = session.execute(sa.text(statement), {"cutoff": cutoff}).one()
    return Pruned(runs=row[0], results=row[1], artifacts=row[2], bytes=int(row[3]))


def prune(session: Session, kind: Kind, cutoff: dt.datetime, *, batch: int = BATCH) -> Pruned:
    """Delete everything of the kind that is older than the cut-off, and what belongs to it.

    A result takes its artifacts along, a run its results and artifacts: nothing is left that nobody can reach.
    Commits after each batch, so that what was done stays done.
    """
    total = Pruned()
    if kind is Kind.ARTIFACTS:
        _artifacts(session, total, _doomed(kind), cutoff, batch)
    elif kind is Kind.RESULTS:
        _results(session, total, _doomed(kind), cutoff, batch)
    else:
        _results(session, total, f"SELECT id FROM results WHERE run_id IN ({_doomed(kind)})", cutoff, batch)  # noqa: S608
        owned = f"SELECT id FROM artifacts WHERE run_id IN ({_doomed(kind)})"  # noqa: S608
        _artifacts(session, total, owned, cutoff, batch)
        while rows := _delete(session, "runs", _doomed(kind), cutoff, batch):
            total.runs += len(rows)
    return total


def _results(session: Session, total: Pruned, doomed: str, cutoff: dt.datetime, batch: int) -> None:
    owned = f"SELECT id FROM artifacts WHERE result_id IN ({doomed})"  # noqa: S608
    _artifacts(session, total, owned, cutoff, batch)
    while rows := _delete(session, "results", doomed, cutoff, batch):
        total.results += len(rows)


def _artifacts(session: Session, total: Pruned, doomed: str, cutoff: dt.datetime, batch: int) -> None:
    while rows := _delete(session, "artifacts", doomed, cutoff, batch, returning="size"):
        total.artifacts += len(rows)
        total.bytes += sum(row[0] for row in rows)


def _delete(
    session: Session, table: str, doomed: str, cutoff: dt.datetime, batch: int, *, returning: str = "id"
) -> list[sa.Row[Any]]:
    statement = f"""
        WITH batch AS MATERIALIZED ({doomed} LIMIT :batch)
        DELETE FROM {table} WHERE id IN (SELECT id FROM batch) RETURNING {returning}
    """  # noqa: S608 - names from this module
    rows = session.execute(sa.text(statement), {"cutoff": cutoff, "batch": batch}).all()
    session.commit()
    return list(rows)
