"""What widgets show, each by one query over runs or results that the caller has narrowed to what may be seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store.filters import Condition, FilterError
from ibutsu_server.store.models import Result, Run

GROUPS = 1000
"""Groups that an aggregator answers at most: the largest."""

_OUTCOMES = {
    "passed": "passes",
    "failed": "failures",
    "error": "errors",
    "skipped": "skips",
    "xfailed": "xfailures",
    "xpassed": "xpasses",
}


def result_summary(session: Session, where: Sequence[Condition]) -> dict[str, int]:
    """Return how many results of each outcome the runs have, by their summaries."""
    row = session.execute(sa.select(_count("tests"), *map(_count, _OUTCOMES.values())).where(*where)).one()
    return {"total": row[0], **dict(zip(_OUTCOMES, row[1:], strict=True))}


def run_aggregator(session: Session, where: Sequence[Condition], field: str) -> dict[str, dict[str, int]]:
    """Return, for each outcome, the percentage of each group's results that have it; runs of no group are left out."""
    group = _group(Run, field)
    query = sa.select(group, _count("tests"), *map(_count, _OUTCOMES.values()))
    query = query.where(*where, group.is_not(None)).group_by(group).order_by(_count("tests").desc(), group)
    rows: Sequence[Any] = session.execute(query.limit(GROUPS)).all()
    return {
        outcome: {row[0]: round(100 * row[2 + number] / row[1]) if row[1] else 0 for row in rows}
        for number, outcome in enumerate(_OUTCOMES)
    }


def result_aggregator(session: Session, where: Sequence[Condition], field: str) -> list[dict[str, Any]]:
    """Return how many results each group has, the largest first."""
    group = _group(Result, field)
    query = sa.select(group, sa.func.count()).where(*where, group.is_not(None)).group_by(group)
    rows = session.execute(query.order_by(sa.func.count().desc(), group).limit(GROUPS)).all()
    return [{"_id": name, "count": count} for name, count in rows]


def jenkins_jobs(session: Session, where: Sequence[Condition], builds: int) -> list[dict[str, Any]]:
    """Return the newest builds of Jenkins jobs: when each began, and what its runs say together."""
    job, build, url = (Run.data["jenkins"][name].as_string() for name in ("job_name", "build_number", "build_url"))
    begun = sa.func.min(Run.start_time)
    query = (
        sa.select(
            job, build, sa.func.min(url), begun, sa.func.coalesce(sa.func.sum(Run.duration), 0.0), _count("tests"),
            *map(_count, _OUTCOMES.values()),
        )
        .where(*where, job.is_not(None), build.is_not(None))
        .group_by(job, build)
        .order_by(begun.desc().nulls_last(), job, build)
        .limit(builds)
    )  # fmt: skip
    return [
        {
            "job_name": row[0],
            "build_number": row[1],
            "build_url": row[2],
            "min_start_time": row[3] and row[3].astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
            "total_execution_time": row[4],
            "summary": {"tests": row[5], **dict(zip(_OUTCOMES.values(), row[6:], strict=True))},
        }
        for row in session.execute(query)
    ]


def _count(key: str) -> sa.ColumnElement[int]:
    """The sum of the runs' summaries under that key, which the server computes."""
    number = sa.cast(Run.summary[key].astext, sa.BigInteger)
    return sa.cast(sa.func.coalesce(sa.func.sum(number), 0), sa.BigInteger)


def _group(model: type[Run | Result], field: str) -> sa.ColumnElement[str]:
    columns = {"component", "env", "source", *(("result", "test_id") if model is Result else ())}
    if field in columns:
        column: sa.ColumnElement[str] = getattr(model, field)
        return column
    head, _, rest = field.partition(".")
    if head not in ("metadata", "data") or not rest:
        raise FilterError(f"There is no field {field[:200]!r} to group by.")
    text: sa.ColumnElement[str] = sa.func.jsonb_extract_path_text(model.data, *rest.split("."), type_=sa.Text)
    return text
