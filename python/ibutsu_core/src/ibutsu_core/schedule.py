"""The beat schedule as data, and the slots at which its entries are due.

A slot is an instant, aware and in UTC, at which an entry is due. It depends on the schedule alone, not on when a
scheduler started or last ran: every scheduler computes the same slots.
"""

from __future__ import annotations

import calendar
import dataclasses
import functools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from celery import schedules

from ibutsu_core.retention import RetentionPolicy

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""A slot of every interval."""

_FIELDS = (("minute", 60, 0), ("hour", 24, 0), ("day_of_week", 7, 0), ("day_of_month", 31, 1), ("month_of_year", 12, 1))
"""Each field of a crontab with how many values it has and the lowest of them."""

_UNITS = (("day", 24 * 60 * 60), ("hour", 60 * 60), ("minute", 60), ("second", 1))
"""Units of time and their seconds, the longest first."""

_TIMES_LISTED = 6
"""So many times of day a description lists; of more it shows the expressions."""


class ScheduleError(ValueError):
    """A schedule that makes no sense, or an instant that has no slot; the message is a sentence for an operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Crontab:
    """Due at each minute, in UTC, that all five fields match.

    The fields are expressions of Celery's crontab: "*", "*/15", "1-5", "sat", "0,30"; days of the week count from
    Sunday, 0. Unlike in cron(8), a day must match both `day_of_week` and `day_of_month`. Raises ScheduleError when a
    field cannot be read, or when no year has such a day.
    """

    minute: str = "*"
    hour: str = "*"
    day_of_week: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"

    def __post_init__(self) -> None:
        for field, size, low in _FIELDS:
            _values(field, getattr(self, field), size, low)
        fires = _fires(self)
        # 2000 is a leap year: its months are as long as they get.
        if not any(day <= calendar.monthrange(2000, month)[1] for month in fires.months for day in fires.days):
            raise ScheduleError(
                f"The crontab never fires: day_of_month {self.day_of_month!r} is in no "
                f"month_of_year {self.month_of_year!r}."
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Every:
    """Due each time that `interval` has passed, counted from the Unix epoch in UTC.

    So every scheduler computes the same slots: those of 30 minutes are at :00 and :30. Celery's beat counts from when
    it last sent the task instead; what it sends belongs to the latest slot. The interval is a whole number of seconds,
    at least one; anything else raises ScheduleError.
    """

    interval: timedelta

    def __post_init__(self) -> None:
        if not isinstance(self.interval, timedelta):
            raise ScheduleError(f"The interval is {self.interval!r}, which is not a timedelta.")
        if self.interval < timedelta(seconds=1) or self.interval % timedelta(seconds=1):
            raise ScheduleError(f"The interval is {self.interval!r}; it must be whole seconds, at least one.")


Schedule: TypeAlias = Crontab | Every


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One periodic task: `task`, by its full name, is sent with `args` at each slot of `schedule`."""

    name: str
    task: str
    schedule: Schedule
    args: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """The newest slot of an entry that the ledger has.

    `attempts` is how often a worker began with it, and it is `lost` when the last of them is gone before the end.
    """

    slot: datetime
    attempts: int = 0
    lost: bool = False


DEFAULT_POLICY = RetentionPolicy()


def beat_entries(policy: RetentionPolicy = DEFAULT_POLICY) -> tuple[Entry, ...]:
    """Return the entries of the specification; the arguments are the policy's months."""
    return (
        Entry(
            name="prune-old-artifact-files",
            task="ibutsu_server.tasks.db.prune_old_files",
            schedule=Crontab(minute="0", hour="4", day_of_week="sat"),
            args=(policy.artifacts,),
        ),
        Entry(
            name="prune-old-results",
            task="ibutsu_server.tasks.db.prune_old_results",
            schedule=Crontab(minute="0", hour="5", day_of_week="sat"),
            args=(policy.results,),
        ),
        Entry(
            name="prune-old-runs",
            task="ibutsu_server.tasks.db.prune_old_runs",
            schedule=Crontab(minute="0", hour="6", day_of_week="sat"),
            args=(policy.runs,),
        ),
        Entry(
            name="sync-aborted-runs",
            task="ibutsu_server.tasks.runs.sync_aborted_runs",
            schedule=Every(timedelta(minutes=30)),
        ),
    )


def beat_schedule(policy: RetentionPolicy = DEFAULT_POLICY) -> dict[str, dict[str, Any]]:
    """Return the entries as Celery's setting `beat_schedule` takes them; the application's time zone must be UTC."""
    return for_celery(beat_entries(policy))


def for_celery(entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """Return any entries as Celery's setting `beat_schedule` takes them."""
    return {entry.name: _for_celery(entry) for entry in entries}


def from_celery(schedule: schedules.BaseSchedule) -> Schedule:
    """Return the schedule that `for_celery` made into this one; raise ScheduleError for one that has no slots."""
    if isinstance(schedule, schedules.crontab):
        # What it is made of is only in its pickle.
        pickled: Any = schedule.__reduce__()
        return Crontab(*map(str, pickled[1]))
    if isinstance(schedule, schedules.schedule):
        return Every(schedule.run_every)  # type: ignore[attr-defined]
    raise ScheduleError(f"The schedule {schedule!r} is neither a crontab nor an interval, and has no slots.")


def latest_due(schedule: Schedule, at: datetime) -> datetime:
    """Return the latest slot at or before `at`.

    `at` is aware, in any zone. Raises ScheduleError when it is not, and when no slot is as early.
    """
    instant = _utc(at)
    slot = _latest(schedule, instant)
    if slot is None:
        raise ScheduleError(f"Nothing is due {describe(schedule)} at or before {instant.isoformat()}.")
    return slot


def next_due(schedule: Schedule, after: datetime) -> datetime:
    """Return the earliest slot after `after`, which is not itself it.

    `after` is aware, in any zone. Raises ScheduleError when it is not, and when no slot is as late.
    """
    instant = _utc(after)
    slot = _next(schedule, instant)
    if slot is None:
        raise ScheduleError(f"Nothing is due {describe(schedule)} after {instant.isoformat()}.")
    return slot


def due_between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Return the slots after `after` and up to `until`, the earliest first.

    A slot at `after` is left out and one at `until` is in, so that ranges that follow each other share no slot and
    miss none. Both are aware, in any zone, or ScheduleError is raised. There are none when `until` is the earlier.
    """
    return _between(schedule, _utc(after), _utc(until))


def owed(schedule: Schedule, known: Known, at: datetime) -> datetime | None:
    """Return the slot that is to be sent at `at`, though it is not due just then; None where nothing is.

    It is the newest slot that is due, where the ledger has none as new, or has it begun by a worker that was lost.
    Older ones are not made up for: what they would have done, the newest does.
    """
    due = _latest(schedule, _utc(at))
    if due is None or due < known.slot or (due == known.slot and not known.lost):
        return None
    return due


def describe(schedule: Schedule) -> str:
    """Return the schedule in words: "at 04:00 UTC on Saturday", "every 30 minutes"."""
    if isinstance(schedule, Every):
        seconds = schedule.interval // timedelta(seconds=1)
        unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
        return f"every {unit}" if seconds == size else f"every {seconds // size} {unit}s"
    fires = _fires(schedule)
    parts = [_time_in_words(schedule)]
    if len(fires.weekdays) < 7:
        # The crontab counts days from Sunday, the calendar from Monday.
        weekdays = sorted((day - 1) % 7 for day in fires.weekdays)
        parts.append(f"on {', '.join(calendar.day_name[day] for day in weekdays)}")
    if len(fires.days) < 31:
        parts.append(f"on day {schedule.day_of_month} of the month")
    if len(fires.months) < 12:
        parts.append(f"in {', '.join(calendar.month_name[month] for month in sorted(fires.months))}")
    return " ".join(parts)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fires:
    """A crontab, expanded. `times` are minutes of the day; they and `days` are sorted; Sunday is day 0 of the week."""

    times: tuple[int, ...]
    weekdays: frozenset[int]
    days: tuple[int, ...]
    months: frozenset[int]


@functools.lru_cache
def _fires(crontab: Crontab) -> _Fires:
    minutes, hours, weekdays, days, months = (
        _values(field, getattr(crontab, field), size, low) for field, size, low in _FIELDS
    )
    return _Fires(
        times=tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
        weekdays=frozenset(weekdays),
        days=tuple(sorted(days)),
        months=frozenset(months),
    )


def _values(field: str, expression: object, size: int, low: int) -> set[int]:
    if not isinstance(expression, str):
        raise ScheduleError(f"The crontab's {field} is {expression!r}, which is not a string such as '0' or '*/15'.")
    try:
        return schedules.crontab_parser(size, low).parse(expression)
    except (ValueError, schedules.ParseException) as error:
        raise ScheduleError(f"The crontab's {field} is {expression!r}, which cannot be read: {error}") from error


def _utc(instant: datetime) -> datetime:
    if instant.utcoffset() is None:
        raise ScheduleError(f"{instant.isoformat()} has no time zone; pass an aware datetime.")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ScheduleError(f"{instant.isoformat()} has no date in UTC.") from error


def _latest(schedule: Schedule, instant: datetime) -> datetime | None:
    if isinstance(schedule, Every):
        return _slot(schedule, (instant - EPOCH) // schedule.interval)
    fires, today = _fires(schedule), instant.date()
    for day in _days(fires, today, -1):
        end = bisect_right(fires.times, _minute(instant)) if day == today else len(fires.times)
        if end > 0:
            return _at(day, fires.times[end - 1])
    return None


def _next(schedule: Schedule, instant: datetime) -> datetime | None:
    if isinstance(schedule, Every):
        return _slot(schedule, (instant - EPOCH) // schedule.interval + 1)
    fires, today = _fires(schedule), instant.date()
    for day in _days(fires, today, 1):
        start = bisect_right(fires.times, _minute(instant)) if day == today else 0
        if start < len(fires.times):
            return _at(day, fires.times[start])
    return None


def _between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    slot = _next(schedule, after)
    while slot is not None and slot <= until:
        yield slot
        slot = _next(schedule, slot)


def _slot(every: Every, number: int) -> datetime | None:
    try:
        return EPOCH + number * every.interval
    except OverflowError:
        return None


def _days(fires: _Fires, start: date, step: int) -> Iterator[date]:
    """Yield the days that match from `start` on, forwards (1) or backwards (-1), to the end of the calendar."""
    month = start.year * 12 + start.month - 1
    while date.min.year * 12 <= month < (date.max.year + 1) * 12:
        year, index = divmod(month, 12)
        if index + 1 in fires.months:
            length = calendar.monthrange(year, index + 1)[1]
            for number in fires.days[::step]:
                if number > length:
                    continue
                day = date(year, index + 1, number)
                if (day - start).days * step >= 0 and day.isoweekday() % 7 in fires.weekdays:
                    yield day
        month += step


def _minute(instant: datetime) -> int:
    return instant.hour * 60 + instant.minute


def _at(day: date, minute: int) -> datetime:
    return datetime(day.year, day.month, day.day, *divmod(minute, 60), tzinfo=UTC)


def _for_celery(entry: Entry) -> dict[str, Any]:
    if isinstance(entry.schedule, Every):
        schedule: schedules.BaseSchedule = schedules.schedule(entry.schedule.interval, relative=True)
    else:
        schedule = schedules.crontab(**dataclasses.asdict(entry.schedule))
    setting: dict[str, Any] = {"schedule": schedule, "task": entry.task}
    return setting | {"args": entry.args} if entry.args else setting


def _time_in_words(crontab: Crontab) -> str:
    times = _fires(crontab).times
    if len(times) == 24 * 60:
        return "every minute"
    if len(times) <= _TIMES_LISTED:
        return f"at {', '.join(f'{minute // 60:02}:{minute % 60:02}' for minute in times)} UTC"
    hours = "every hour" if crontab.hour == "*" else f"hour {crontab.hour}"
    return f"at minute {crontab.minute} of {hours} UTC"
