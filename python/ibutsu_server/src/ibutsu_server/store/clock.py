"""The clock by which something is deleted for good: this machine's, where PostgreSQL's agrees with it."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

SKEW = dt.timedelta(minutes=5)
"""By how much the two may differ; retention is counted in months."""


class ClockError(ValueError):
    """The two clocks differ, and nobody knows which of them is right."""


def confirmed_now(connection: sa.Connection) -> dt.datetime:
    """Return the instant, in UTC. Raises ClockError where PostgreSQL's clock says another one.

    A machine that wakes up in another year would otherwise take everything for old.
    """
    before = dt.datetime.now(dt.UTC)
    with connection.begin():
        there: dt.datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    now = dt.datetime.now(dt.UTC)
    if not before - SKEW <= there <= now + SKEW:
        raise ClockError(
            f"The clock here says {_shown(now)}, and PostgreSQL's says {_shown(there)}: one of them is wrong, and "
            "nothing was deleted. Mend the clock (NTP); the next run deletes what is old by then."
        )
    return now


def _shown(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
