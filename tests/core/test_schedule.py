from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery, schedules
from celery.beat import ScheduleEntry
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ibutsu_core.retention import RetentionPolicy
from ibutsu_core.schedule import (
    EPOCH,
    Crontab,
    Entry,
    Every,
    Known,
    ScheduleError,
    beat_entries,
    beat_schedule,
    describe,
    due_between,
    for_celery,
    from_celery,
    latest_due,
    next_due,
    owed,
)

MICROSECOND = timedelta(microseconds=1)
SATURDAY_4 = Crontab(minute="0", hour="4", day_of_week="sat")
HALF_HOUR = Every(timedelta(minutes=30))

app = Celery("tests", set_as_current=False)
app.conf.update(timezone="UTC", enable_utc=True)


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # type: ignore[misc, arg-type]


# Crontabs, as people write them ------------------------------------------------------------------------------------


def expressions(low: int, high: int, *, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    value = st.one_of(st.integers(low, high).map(str), *([st.sampled_from(names)] if names else []))
    # Where the end is less than the start, the range goes around.
    span = st.builds("{}-{}".format, value, value)
    steps = st.integers(1, high).map(str)
    part = st.one_of(value, span, st.builds("{}/{}".format, st.one_of(st.just("*"), span), steps))
    return st.one_of(st.just("*"), part, st.lists(part, min_size=2, max_size=3).map(",".join))


@st.composite
def crontabs(draw: st.DrawFn) -> Crontab:
    fields = {
        "minute": draw(expressions(0, 59)),
        "hour": draw(expressions(0, 23)),
        "day_of_week": draw(expressions(0, 6, names=("sun", "mon", "tuesday", "Wed", "thu", "fri", "sat"))),
        "day_of_month": draw(expressions(1, 31)),
        "month_of_year": draw(expressions(1, 12, names=("jan", "feb", "march", "oct"))),
    }
    try:
        return Crontab(**fields)
    except ScheduleError:
        with pytest.raises(ValueError, match="never occurs"):
            schedules.crontab(**fields)
        assume(False)
        raise


def in_celery(crontab: Crontab, now: datetime) -> schedules.crontab:
    return schedules.crontab(
        crontab.minute,
        crontab.hour,
        crontab.day_of_week,
        crontab.day_of_month,
        crontab.month_of_year,
        nowfun=lambda: now,
        app=app,
    )


def next_in_celery(crontab: Crontab, after: datetime) -> datetime:
    return after + in_celery(crontab, after).remaining_estimate(after)


instants = st.one_of(
    st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    # Around slots: full minutes and the microseconds beside them, at the ends of days, months and leap years.
    st.builds(
        lambda year, month, days, minutes, delta: (
            datetime(year, month, 1, tzinfo=UTC) + timedelta(days=days, minutes=minutes) + delta
        ),
        st.integers(1996, 2104),
        st.integers(1, 12),
        st.integers(-3, 3),
        st.one_of(st.integers(0, 24 * 60), st.sampled_from((0, 60, 1380, 1439))),
        st.sampled_from((-MICROSECOND, timedelta(0), MICROSECOND, timedelta(seconds=30))),
    ),
)
intervals = st.integers(1, 10**8).map(lambda seconds: Every(timedelta(seconds=seconds)))
any_schedule = st.one_of(crontabs(), intervals)
zones = st.sampled_from(("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")).map(ZoneInfo)


# Agreement with Celery ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(crontabs(), instants)
@example(SATURDAY_4, utc(2026, 5, 16, 4))
@example(Crontab("0", "0", "1", "29", "2"), utc(2072, 3, 1))
@example(Crontab("59", "23", "*", "31", "12"), utc(2026, 12, 31, 23, 59))
def test_the_next_slot_is_the_one_that_celery_waits_for(crontab: Crontab, after: datetime) -> None:
    assert next_due(crontab, after) == next_in_celery(crontab, after)


@settings(deadline=None, max_examples=200)
@given(crontabs(), instants)
@example(SATURDAY_4, utc(2026, 5, 16, 4))
@example(SATURDAY_4, utc(2026, 5, 16, 4) - MICROSECOND)
@example(Crontab("0", "0", "1", "29", "2"), utc(2128, 2, 28))
def test_the_latest_slot_is_one_of_celerys_and_none_of_celerys_is_between(crontab: Crontab, at: datetime) -> None:
    latest = latest_due(crontab, at)
    assert latest <= at
    assert next_in_celery(crontab, latest - MICROSECOND) == latest
    assert next_in_celery(crontab, latest) > at


@settings(deadline=None)
@given(crontabs(), instants, st.data())
def test_celery_finds_an_entry_due_exactly_when_a_slot_has_passed_since_it_ran(
    crontab: Crontab, last_run: datetime, data: st.DataObject
) -> None:
    slot = next_due(crontab, last_run)
    offset = st.sampled_from((-timedelta(minutes=1), -MICROSECOND, timedelta(0), MICROSECOND, timedelta(days=40)))
    now = max(last_run, slot + data.draw(offset))
    assert in_celery(crontab, now).is_due(last_run).is_due == (latest_due(crontab, now) > last_run)


@settings(deadline=None)
@given(crontabs(), instants, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_the_slots_between_two_instants_are_celerys(crontab: Crontab, after: datetime, span: timedelta) -> None:
    def celerys() -> Any:
        slot = next_in_celery(crontab, after)
        while slot <= after + span:
            yield slot
            slot = next_in_celery(crontab, slot)

    ours = due_between(crontab, after, after + span)
    assert list(itertools.islice(ours, 100)) == list(itertools.islice(celerys(), 100))


# Slots -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "at", "latest", "following"),
    [
        (SATURDAY_4, utc(2026, 5, 16, 4), utc(2026, 5, 16, 4), utc(2026, 5, 23, 4)),
        (SATURDAY_4, utc(2026, 5, 16, 3, 59, 59, 999999), utc(2026, 5, 9, 4), utc(2026, 5, 16, 4)),
        (SATURDAY_4, utc(2026, 5, 16, 4, 0, 0, 1), utc(2026, 5, 16, 4), utc(2026, 5, 23, 4)),
        (SATURDAY_4, utc(2027, 1, 1), utc(2026, 12, 26, 4), utc(2027, 1, 2, 4)),
        (Crontab("30", "23", "*", "31"), utc(2026, 3, 1), utc(2026, 1, 31, 23, 30), utc(2026, 3, 31, 23, 30)),
        (Crontab("0", "0", "*", "29", "feb"), utc(2103, 6, 1), utc(2096, 2, 29), utc(2104, 2, 29)),
        (HALF_HOUR, utc(2026, 5, 16, 4), utc(2026, 5, 16, 4), utc(2026, 5, 16, 4, 30)),
        (HALF_HOUR, utc(2026, 5, 16, 4, 29, 59, 999999), utc(2026, 5, 16, 4), utc(2026, 5, 16, 4, 30)),
        (HALF_HOUR, utc(1969, 12, 31, 23, 45), utc(1969, 12, 31, 23, 30), utc(1970, 1, 1)),
        (Every(timedelta(days=7)), utc(1970, 1, 9), utc(1970, 1, 8), utc(1970, 1, 15)),
    ],
)
def test_the_slot_at_or_before_and_the_one_after(
    schedule: Crontab | Every, at: datetime, latest: datetime, following: datetime
) -> None:
    assert latest_due(schedule, at) == latest
    assert next_due(schedule, at) == following


@given(intervals, instants)
def test_the_slots_of_an_interval_are_whole_intervals_from_the_epoch(every: Every, at: datetime) -> None:
    latest = latest_due(every, at)
    assert latest <= at < latest + every.interval == next_due(every, at)
    assert (latest - EPOCH) % every.interval == timedelta(0)


@settings(deadline=None)
@given(any_schedule, instants)
def test_the_latest_slot_before_the_next_is_the_latest_one(schedule: Crontab | Every, at: datetime) -> None:
    following = next_due(schedule, at)
    assert latest_due(schedule, following) == following
    assert latest_due(schedule, following - MICROSECOND) == latest_due(schedule, at) <= at < following


@settings(deadline=None)
@given(any_schedule, instants, zones)
def test_the_same_instant_in_any_zone_has_the_same_slots(
    schedule: Crontab | Every, at: datetime, zone: ZoneInfo
) -> None:
    local = at.astimezone(zone)
    for found in (latest_due, next_due):
        slot = found(schedule, local)
        assert slot == found(schedule, at)
        assert slot.tzinfo is UTC


def test_the_slot_after_the_first_instant_is_in_only_when_later_and_the_one_at_the_last_is_in() -> None:
    start, middle, end = utc(2026, 5, 16, 4), utc(2026, 5, 16, 4, 30), utc(2026, 5, 16, 5)
    assert list(due_between(HALF_HOUR, start, end)) == [middle, end]
    assert list(due_between(HALF_HOUR, start - MICROSECOND, end - MICROSECOND)) == [start, middle]
    assert list(due_between(HALF_HOUR, end, end)) == []
    assert list(due_between(HALF_HOUR, end, start)) == []


@settings(deadline=None)
@given(any_schedule, st.lists(instants, min_size=3, max_size=3).map(sorted))
def test_ranges_that_follow_each_other_share_no_slot_and_miss_none(
    schedule: Crontab | Every, bounds: list[datetime]
) -> None:
    first = bounds[0]
    second, third = (min(bound, first + timedelta(days=30)) for bound in bounds[1:])
    whole = list(itertools.islice(due_between(schedule, first, third), 500))
    halves = itertools.chain(due_between(schedule, first, second), due_between(schedule, second, third))
    assert whole == list(itertools.islice(halves, 500))


def test_the_slots_between_are_computed_only_as_far_as_they_are_asked_for() -> None:
    slots = due_between(Crontab(), utc(1970, 1, 1), utc(9999, 12, 31))
    assert next(slots) == utc(1970, 1, 1, 0, 1)


@pytest.mark.timeout(20)
def test_a_slot_that_is_decades_away_is_found_at_once() -> None:
    # 29 February is a Monday in 2072 and then not before 2112; minute by minute this takes 21 million steps.
    rare = Crontab("0", "0", "mon", "29", "2")
    for minute in range(100):
        assert latest_due(rare, utc(2112, 2, 28, 0, minute % 60)) == utc(2072, 2, 29)
        assert next_due(rare, utc(2072, 2, 29, 0, minute % 60)) == utc(2112, 2, 29)


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("day", "month"), [("30", "2"), ("30-31", "feb"), ("31", "2,4,6,9,11")])
def test_a_crontab_that_never_fires_is_refused(day: str, month: str) -> None:
    with pytest.raises(ScheduleError, match=rf"never fires: day_of_month '{day}' is in no month_of_year '{month}'"):
        Crontab(day_of_month=day, month_of_year=month)


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(1, 31), st.integers(1, 12), instants)
def test_a_crontab_that_is_not_refused_fires_within_forty_years(
    weekday: int, day: int, month: int, at: datetime
) -> None:
    try:
        crontab = Crontab("0", "0", str(weekday), str(day), str(month))
    except ScheduleError:
        assume(False)
    assert at < next_due(crontab, at) < at + timedelta(days=366 * 40)


@pytest.mark.parametrize(
    ("field", "expression"),
    [
        ("minute", "60"),
        ("minute", "-1"),
        ("minute", ""),
        ("minute", "*/0"),
        ("minute", "1,,2"),
        ("hour", "24"),
        ("hour", "noon"),
        ("day_of_week", "7"),
        ("day_of_month", "0"),
        ("day_of_month", "32"),
        ("month_of_year", "13"),
    ],
)
def test_an_expression_that_cannot_be_read_is_refused_by_its_field(field: str, expression: str) -> None:
    with pytest.raises(ScheduleError, match=rf"The crontab's {field} is '.*', which cannot be read: .") as refusal:
        Crontab(**{field: expression})
    assert repr(expression) in str(refusal.value)


@pytest.mark.parametrize("expression", [0, None, [], [0, 30]])
def test_an_expression_that_is_no_string_is_refused(expression: Any) -> None:
    with pytest.raises(ScheduleError, match=r"The crontab's minute is .*, which is not a string"):
        Crontab(minute=expression)


@pytest.mark.parametrize(
    "interval", [timedelta(0), timedelta(seconds=-60), timedelta(milliseconds=1500), MICROSECOND, 1800, None]
)
def test_an_interval_that_is_not_whole_seconds_is_refused(interval: Any) -> None:
    with pytest.raises(ScheduleError, match="The interval is"):
        Every(interval)


@pytest.mark.parametrize("schedule", [SATURDAY_4, HALF_HOUR])
def test_a_naive_instant_is_refused_before_anything_is_computed(schedule: Crontab | Every) -> None:
    naive, aware = datetime(2026, 5, 16, 4), utc(2026, 5, 16, 4)  # noqa: DTZ001
    for refused in (
        lambda: latest_due(schedule, naive),
        lambda: next_due(schedule, naive),
        lambda: due_between(schedule, naive, aware),
        lambda: due_between(schedule, aware, naive),
    ):
        with pytest.raises(ScheduleError, match="2026-05-16T04:00:00 has no time zone"):
            refused()


@pytest.mark.parametrize("schedule", [SATURDAY_4, Every(timedelta(days=400)), Every(timedelta(days=10**8))])
def test_at_the_ends_of_the_calendar_there_is_a_sentence_and_no_slot(schedule: Crontab | Every) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    with pytest.raises(ScheduleError, match=f"Nothing is due {describe(schedule)} at or before 0001-01-01"):
        latest_due(schedule, first)
    with pytest.raises(ScheduleError, match=f"Nothing is due {describe(schedule)} after 9999-12-31"):
        next_due(schedule, last)
    assert list(due_between(schedule, last - timedelta(hours=1), last)) == []
    with pytest.raises(ScheduleError, match="has no date in UTC"):
        next_due(schedule, datetime.max.replace(tzinfo=ZoneInfo("America/New_York")))


# The beat schedule -------------------------------------------------------------------------------------------------


def test_the_entries_are_exactly_the_specifications() -> None:
    assert beat_entries() == (
        Entry("prune-old-artifact-files", "ibutsu_server.tasks.db.prune_old_files", SATURDAY_4, (3,)),
        Entry(
            "prune-old-results",
            "ibutsu_server.tasks.db.prune_old_results",
            Crontab(minute="0", hour="5", day_of_week="sat"),
            (5,),
        ),
        Entry(
            "prune-old-runs",
            "ibutsu_server.tasks.db.prune_old_runs",
            Crontab(minute="0", hour="6", day_of_week="sat"),
            (12,),
        ),
        Entry("sync-aborted-runs", "ibutsu_server.tasks.runs.sync_aborted_runs", HALF_HOUR, ()),
    )


def test_celery_gets_the_specifications_schedule_and_no_other_key() -> None:
    assert beat_schedule() == {
        "prune-old-artifact-files": {
            "schedule": schedules.crontab(minute=0, hour=4, day_of_week=6),
            "task": "ibutsu_server.tasks.db.prune_old_files",
            "args": (3,),
        },
        "prune-old-results": {
            "schedule": schedules.crontab(minute=0, hour=5, day_of_week=6),
            "task": "ibutsu_server.tasks.db.prune_old_results",
            "args": (5,),
        },
        "prune-old-runs": {
            "schedule": schedules.crontab(minute=0, hour=6, day_of_week=6),
            "task": "ibutsu_server.tasks.db.prune_old_runs",
            "args": (12,),
        },
        "sync-aborted-runs": {
            "schedule": schedules.schedule(timedelta(minutes=30)),
            "task": "ibutsu_server.tasks.runs.sync_aborted_runs",
        },
    }


def test_the_arguments_follow_the_policy() -> None:
    policy = RetentionPolicy(4, 8, 24)
    assert [entry.args for entry in beat_entries(policy)] == [(4,), (8,), (24,), ()]
    assert [setting.get("args") for setting in beat_schedule(policy).values()] == [(4,), (8,), (24,), None]


def test_beat_takes_each_entry_and_sees_it_due_at_the_next_slot() -> None:
    last_run = utc(2026, 5, 15, 12)
    for entry in beat_entries():
        setting = beat_schedule()[entry.name]
        slot = next_due(entry.schedule, last_run)
        for now, due in ((slot - timedelta(seconds=1), False), (slot, True)):
            setting["schedule"].nowfun = lambda now=now: now
            taken: Any = ScheduleEntry(name=entry.name, app=app, last_run_at=last_run, **setting)
            assert taken.is_due().is_due is due
            assert tuple(taken.args) == entry.args


@given(st.permutations(range(4)))
def test_two_calls_share_nothing_that_can_be_changed(order: list[int]) -> None:
    names = list(beat_schedule())
    for index in order:
        beat_schedule()[names[index]].clear()
    assert all("task" in setting for setting in beat_schedule().values())


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (SATURDAY_4, "at 04:00 UTC on Saturday"),
        (HALF_HOUR, "every 30 minutes"),
        (Every(timedelta(seconds=1)), "every second"),
        (Every(timedelta(seconds=90)), "every 90 seconds"),
        (Every(timedelta(hours=1)), "every hour"),
        (Every(timedelta(minutes=90)), "every 90 minutes"),
        (Every(timedelta(days=2)), "every 2 days"),
        (Crontab(), "every minute"),
        (Crontab("0,30", "4-5"), "at 04:00, 04:30, 05:00, 05:30 UTC"),
        (Crontab("*/15"), "at minute */15 of every hour UTC"),
        (Crontab("*/15", "8-18"), "at minute */15 of hour 8-18 UTC"),
        (Crontab("0", "4", "sun,mon,fri-sat"), "at 04:00 UTC on Monday, Friday, Saturday, Sunday"),
        (Crontab("5", "0", "fri", "13", "mar,6"), "at 00:05 UTC on Friday on day 13 of the month in March, June"),
    ],
)
def test_a_schedule_in_words(schedule: Crontab | Every, text: str) -> None:
    assert describe(schedule) == text


def test_the_schedule_can_be_computed_without_database_or_web_packages() -> None:
    program = (
        "import sys; from ibutsu_core import retention, schedule; schedule.beat_schedule(); "
        "print({'flask', 'sqlalchemy', 'psycopg2', 'redis', 'ibutsu_server'} & sys.modules.keys())"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout == "set()\n"


# What is owed -------------------------------------------------------------------------------------------------------


@given(any_schedule)
def test_a_schedule_comes_back_from_celery_as_it_was(schedule: Crontab | Every) -> None:
    (setting,) = for_celery([Entry("name", "task", schedule)]).values()
    assert from_celery(setting["schedule"]) == schedule


def test_a_schedule_that_has_no_slots_is_refused() -> None:
    with pytest.raises(ScheduleError, match="neither a crontab nor an interval"):
        from_celery(schedules.BaseSchedule())


@settings(deadline=None)
@given(any_schedule, instants, instants, st.booleans())
def test_what_is_owed_is_the_newest_slot_once_it_is_known_done_nothing_and_older_ones_never(
    schedule: Crontab | Every, at: datetime, seen: datetime, lost: bool
) -> None:
    newest, known = latest_due(schedule, at), latest_due(schedule, seen)
    found = owed(schedule, Known(known, 1, lost), at)
    assert found == (newest if newest > known or (newest == known and lost) else None)
    if found:
        assert owed(schedule, Known(found, 1), at) is None


@settings(deadline=None, max_examples=50)
@given(
    any_schedule,
    instants,
    st.lists(st.tuples(st.timedeltas(timedelta(seconds=1), timedelta(days=20)), st.integers(0, 3)), max_size=20),
)
def test_however_many_schedulers_come_and_go_each_slot_is_done_once_and_the_newest_is_never_missed(
    schedule: Crontab | Every, start: datetime, history: list[tuple[timedelta, int]]
) -> None:
    """Time goes on in steps; at each some schedulers look at the ledger, and a worker claims whatever they send."""
    now, done = start, [latest_due(schedule, start)]
    for step, schedulers in history:
        now += step
        sent = [owed(schedule, Known(done[-1]), now) for _ in range(schedulers)]
        for slot in sent:
            if slot is not None and slot not in done:
                done.append(slot)
        if schedulers:
            assert done[-1] == latest_due(schedule, now)
            assert len(set(sent)) == 1, "All schedulers find the same."
    assert done == sorted(set(done))
