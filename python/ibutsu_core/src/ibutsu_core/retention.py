"""How long artifacts, results and runs are kept, and the instant before which they may go.

A cut-off is so many calendar months before now, in UTC. A policy that makes no sense cannot be made: whoever holds a
`RetentionPolicy` may prune by it.
"""

from __future__ import annotations

import calendar
import dataclasses
import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Any

MAX_MONTHS = 1200
"""The longest retention, in months: a hundred years."""


class RetentionError(ValueError):
    """A retention or an instant that makes no sense; the message is a sentence for an operator."""


class Kind(enum.StrEnum):
    """What retention deletes, in the order of its length: the shortest first."""

    ARTIFACTS = "artifacts"
    RESULTS = "results"
    RUNS = "runs"


FLOORS: Mapping[Kind, int] = MappingProxyType({Kind.ARTIFACTS: 2, Kind.RESULTS: 4, Kind.RUNS: 10})
"""The shortest retention of each kind that any policy may have, in months."""

DEFAULTS: Mapping[Kind, int] = MappingProxyType({Kind.ARTIFACTS: 3, Kind.RESULTS: 5, Kind.RUNS: 12})
"""The retention of each kind where nothing else is said, in months."""


def parse_months(value: object, *, what: str = "months") -> int:
    """Return `value` as a number of months from 1 to `MAX_MONTHS`.

    It is an int, or a string of ASCII digits, as a task's argument may arrive. Anything else raises RetentionError,
    which calls the value by the name `what`.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        # int() refuses a string of thousands of digits with an error of its own.
        months = int(value) if len(value.lstrip("0")) <= len(str(MAX_MONTHS)) else MAX_MONTHS + 1
    elif isinstance(value, int) and not isinstance(value, bool):
        months = int(value)
    else:
        raise RetentionError(f"{what} is {_shown(value)}, which is not a whole number of months.")
    if months < 1:
        raise RetentionError(f"{what} is {_shown(value)}; it must be at least 1 month.")
    if months > MAX_MONTHS:
        raise RetentionError(f"{what} is {_shown(value)}; it must be at most {MAX_MONTHS} months.")
    return months


def cutoff(months: int | str, now: datetime | None = None) -> datetime:
    """Return the instant, aware and in UTC, that lies `months` calendar months before `now`.

    What is strictly older than it may be pruned. `now` is aware, in any zone, and the clock when left out. Where the
    earlier month is too short to have the day, the cut-off is that month's last microsecond: with the time of day
    kept, it would step back by most of a day at midnight. Raises RetentionError.
    """
    count = parse_months(months)
    instant = datetime.now(UTC) if now is None else _utc(now)
    year, month = divmod(instant.year * 12 + instant.month - 1 - count, 12)
    month += 1
    if year < 1:
        raise RetentionError(f"now is {instant.isoformat()}, and {count} months before it is before the year 1.")
    last = calendar.monthrange(year, month)[1]
    if instant.day > last:
        return datetime(year, month, last, 23, 59, 59, 999999, tzinfo=UTC)
    return instant.replace(year=year, month=month)


@dataclasses.dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many months each kind is kept; one that makes no sense raises RetentionError instead of existing.

    Each is a whole number, not under its floor, and artifacts < results < runs. Strings of digits become ints.
    """

    artifacts: int = DEFAULTS[Kind.ARTIFACTS]
    results: int = DEFAULTS[Kind.RESULTS]
    runs: int = DEFAULTS[Kind.RUNS]

    def __post_init__(self) -> None:
        for kind in Kind:
            months = parse_months(getattr(self, kind), what=f"the retention of {kind}")
            if months < FLOORS[kind]:
                raise RetentionError(
                    f"The retention of {kind} is {_months(months)}, but never less than {_months(FLOORS[kind])}."
                )
            object.__setattr__(self, kind, months)
        for shorter, longer in pairwise(Kind):
            if self.months(shorter) >= self.months(longer):
                raise RetentionError(
                    f"The retention of {longer} is {_months(self.months(longer))} and that of {shorter} "
                    f"{_months(self.months(shorter))}, but {longer} must be kept for longer than {shorter}."
                )

    def months(self, kind: Kind) -> int:
        """Return how many months the kind is kept."""
        value: int = getattr(self, _kind(kind))
        return value

    @classmethod
    def of(cls, months: Mapping[str, object], default: RetentionPolicy | None = None) -> RetentionPolicy:
        """Return the policy of these kinds and months, where a kind that is left out is as in `default`.

        Raises RetentionError, also for a kind that there is not.
        """
        values: dict[str, Any] = {_kind(kind): value for kind, value in months.items()}
        return dataclasses.replace(default or cls(), **values)

    def as_dict(self) -> dict[str, int]:
        """Return the months by kind; `of` makes the same policy of them."""
        return {kind.value: self.months(kind) for kind in Kind}

    def with_months(self, kind: Kind, months: int | str) -> RetentionPolicy:
        """Return this policy with one value replaced, checked as a whole; raises RetentionError."""
        return self.of({_kind(kind): months}, self)

    def cutoffs(self, now: datetime | None = None) -> dict[Kind, datetime]:
        """Return the cut-off of each kind, all for the same instant: `now`, or the clock when left out."""
        instant = datetime.now(UTC) if now is None else now
        return {kind: cutoff(self.months(kind), instant) for kind in Kind}


def _kind(kind: str) -> Kind:
    try:
        return Kind(kind)
    except ValueError as error:
        raise RetentionError(f"The kind is {_shown(kind)}, which is none of {', '.join(Kind)}.") from error


def _utc(now: datetime) -> datetime:
    if not isinstance(now, datetime):
        raise RetentionError(f"now is {_shown(now)}, which is not a datetime.")
    if now.utcoffset() is None:
        raise RetentionError(f"now is {now.isoformat()}, which has no time zone; pass an aware datetime.")
    try:
        return now.astimezone(UTC)
    except OverflowError as error:
        raise RetentionError(f"now is {now.isoformat()}, which has no date in UTC.") from error


def _months(count: int) -> str:
    return "1 month" if count == 1 else f"{count} months"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:
        # An int of thousands of digits has no repr.
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}…"
