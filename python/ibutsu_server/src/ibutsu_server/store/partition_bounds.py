"""Which ids belong to which partition: the first 48 bits of a UUIDv7 are the milliseconds at which it was made."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from itertools import pairwise

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_SHIFT = 80
"""Bits of a UUID after its milliseconds."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Bounds:
    """A range of ids: from `lower`, which is in it, to `upper`, which is not."""

    lower: uuid.UUID
    upper: uuid.UUID

    def __contains__(self, one: uuid.UUID) -> bool:
        """Tell whether the id is in the range."""
        return self.lower <= one < self.upper

    def expired(self, cutoff: dt.datetime) -> bool:
        """Tell whether all ids of the range were made before the instant."""
        return self.upper <= first_id(cutoff)

    def uncovered(self, others: list[Bounds]) -> Bounds | None:
        """Return what is left of the range behind the others that overlap it, None where nothing is."""
        lower = max([self.lower, *(one.upper for one in others if one.lower < self.upper and self.lower < one.upper)])
        return Bounds(lower, self.upper) if lower < self.upper else None


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """A partition of one range of ids."""

    name: str
    bounds: Bounds


def first_id(instant: dt.datetime) -> uuid.UUID:
    """Return the lowest id that could be made in the millisecond of `instant`, which is aware; of all before 1970."""
    return uuid.UUID(int=max(0, (instant - _EPOCH) // _MILLISECOND) << _SHIFT)


def made_at(one: uuid.UUID) -> dt.datetime:
    """Return the millisecond at which an id was made."""
    return _EPOCH + (one.int >> _SHIFT) * _MILLISECOND


def month(instant: dt.datetime, later: int = 0) -> dt.datetime:
    """Return when the month of `instant` begins in UTC, or the month that is so many months later."""
    utc = instant.astimezone(dt.UTC)
    year, index = divmod(utc.year * 12 + utc.month - 1 + later, 12)
    return dt.datetime(year, index + 1, 1, tzinfo=dt.UTC)


def months(now: dt.datetime, ahead: int) -> list[Bounds]:
    """Return the ids of the month of `now` and of so many months after it."""
    starts = [first_id(month(now, later)) for later in range(ahead + 2)]
    return [Bounds(lower, upper) for lower, upper in pairwise(starts)]


def beginning_later(bounds: Bounds, now: dt.datetime) -> Bounds | None:
    """Return the range without what is made until the next midnight in UTC, an hour away at least; None for nothing."""
    soon = (now + dt.timedelta(hours=1)).astimezone(dt.UTC)
    midnight = soon.replace(hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(days=1)
    lower = max(bounds.lower, first_id(midnight))
    return Bounds(lower, bounds.upper) if lower < bounds.upper else None
