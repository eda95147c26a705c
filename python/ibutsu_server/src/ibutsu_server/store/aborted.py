"""Runs whose client went away before all that it had collected was run."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

MARK = "aborted"
"""The key of a run's metadata that is true for such a run; lists find it by the filter `metadata.aborted=true`."""

_NOT_RUN = "jsonb_typeof(summary -> 'not_run') = 'number' AND (summary ->> 'not_run')::numeric > 0"

# A run in use is left until the next time, so that nobody waits, and nobody waits for this.
_MARK = sa.text(
    f"""
    WITH quiet AS MATERIALIZED (
        SELECT id FROM runs
        WHERE created > now() - make_interval(hours => :hours) AND created < now() - make_interval(mins => :minutes)
          AND {_NOT_RUN} AND NOT metadata ? '{MARK}'
          AND NOT EXISTS (
              SELECT FROM results
              WHERE results.run_id = runs.id AND results.created > now() - make_interval(mins => :minutes)
          )
        FOR UPDATE SKIP LOCKED
    )
    UPDATE runs SET metadata = metadata || '{{"{MARK}": true}}' FROM quiet WHERE runs.id = quiet.id
    """  # noqa: S608 - names from this module
)

_UNMARK = sa.text(
    f"""
    WITH whole AS MATERIALIZED (
        SELECT id FROM runs
        WHERE created > now() - make_interval(hours => :hours) AND metadata @> '{{"{MARK}": true}}'
          AND summary @> '{{"not_run": 0}}'
        FOR UPDATE SKIP LOCKED
    )
    UPDATE runs SET metadata = metadata - '{MARK}' FROM whole WHERE runs.id = whole.id
    """  # noqa: S608 - names from this module
)


def mark(session: Session, *, hours: int, quiet_minutes: int) -> int:
    """Mark the runs of the last `hours` that lack results and got none for so long; unmark those that are whole now.

    Returns how many were marked. Does not commit.
    """
    session.execute(_UNMARK, {"hours": hours})
    marked = session.execute(_MARK, {"hours": hours, "minutes": quiet_minutes})
    return int(marked.rowcount)  # type: ignore[attr-defined]
