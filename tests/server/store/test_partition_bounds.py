"""Which ids belong to which partition."""

from __future__ import annotations

import calendar
import datetime as dt
import uuid
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from uuid_utils import uuid7

from ibutsu_server.store import partition_bounds
from ibutsu_server.store.partition_bounds import Bounds, first_id

INSTANTS = st.builds(
    lambda seconds, hours: dt.datetime.fromtimestamp(seconds, dt.timezone(dt.timedelta(hours=hours))),
    st.floats(366 * 86_400, 500 * 366 * 86_400),
    st.integers(-12, 14),
)
IDS = st.integers(0, 2**128 - 1).map(lambda number: uuid.UUID(int=number))


def made(instant: dt.datetime) -> uuid.UUID:
    """Make an id as the server does at that instant."""
    microseconds = (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return uuid.UUID(bytes=uuid7(nanoseconds=microseconds * 1000).bytes)


@given(instant=INSTANTS, ahead=st.integers(0, 14))
def test_the_months_follow_each_other_and_hold_what_is_made_in_them(instant: dt.datetime, ahead: int) -> None:
    ranges = partition_bounds.months(instant, ahead)
    assert len(ranges) == ahead + 1
    assert made(instant) in ranges[0]
    assert all(one.upper == after.lower for one, after in pairwise(ranges))
    for one in ranges:
        start = partition_bounds.made_at(one.lower)
        days = calendar.monthrange(start.year, start.month)[1]
        assert start == start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        assert partition_bounds.made_at(one.upper) == start + dt.timedelta(days=days)
        assert made(start) in one
        last = start + dt.timedelta(days=days, milliseconds=-1)
        assert made(last) in one
        assert made(last + dt.timedelta(milliseconds=1)) not in one


@given(instant=INSTANTS, cutoff=INSTANTS)
def test_a_range_has_expired_when_whatever_is_made_in_it_is_before_the_cutoff(
    instant: dt.datetime, cutoff: dt.datetime
) -> None:
    (month,) = partition_bounds.months(instant, 0)
    last = partition_bounds.made_at(month.upper) - dt.timedelta(milliseconds=1)
    assert month.expired(cutoff) == (last < cutoff - dt.timedelta(microseconds=cutoff.microsecond % 1000))


@given(ends=st.lists(IDS, min_size=2, max_size=8, unique=True).map(sorted), wanted=st.tuples(IDS, IDS).map(sorted))
def test_what_is_uncovered_is_the_end_that_overlaps_no_other(ends: list[uuid.UUID], wanted: list[uuid.UUID]) -> None:
    others = [Bounds(*pair) for pair in zip(ends[::2], ends[1::2], strict=False)]
    bounds = Bounds(*wanted)
    left = bounds.uncovered(others)
    if left is None:
        assert bounds.lower == bounds.upper or any(bounds.upper <= one.upper for one in others)
        return
    assert left.upper == bounds.upper
    assert all(one.upper <= left.lower or left.upper <= one.lower for one in others)
    assert left.lower in {bounds.lower, *(one.upper for one in others)}


@given(now=INSTANTS, later=st.integers(0, 2))
def test_a_range_that_begins_later_leaves_an_hour_at_least(now: dt.datetime, later: int) -> None:
    month = partition_bounds.months(now, 2)[later]
    left = partition_bounds.beginning_later(month, now)
    soon = now + dt.timedelta(hours=1)
    if left is None:
        assert month.expired(soon + dt.timedelta(days=1))
        return
    assert left.upper == month.upper
    assert left.lower >= max(month.lower, first_id(soon))
    assert left.lower <= max(month.lower, first_id(soon + dt.timedelta(days=1)))
