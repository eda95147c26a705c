from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ibutsu_core.retention import (
    DEFAULTS,
    FLOORS,
    MAX_MONTHS,
    Kind,
    RetentionError,
    RetentionPolicy,
    cutoff,
    parse_months,
)

# Zones with DST in either half of the year, half-hour steps, a skipped day, and offsets beyond half a day.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)
MICROSECOND = timedelta(microseconds=1)

zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
# Where calendars are odd: the first and last days of months, and of February above all, to the microsecond.
month_ends = st.builds(
    lambda year, month, days, delta: datetime(year, month, 1, tzinfo=UTC) + timedelta(days=days) + delta,
    st.integers(1996, 2104),
    st.integers(1, 12),
    st.integers(-4, 2),
    st.sampled_from((-MICROSECOND, timedelta(0), MICROSECOND, timedelta(hours=13))),
)
nows = st.one_of(instants, month_ends)
months = st.integers(1, 240)


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("count", "now", "expected"),
    [
        (3, utc(2026, 5, 15, 10, 30, 1, 7), utc(2026, 2, 15, 10, 30, 1, 7)),
        (12, utc(2026, 5, 15), utc(2025, 5, 15)),
        (5, utc(2026, 5, 15), utc(2025, 12, 15)),
        (1, utc(2026, 1, 1), utc(2025, 12, 1)),
        (12, utc(2026, 12, 31), utc(2025, 12, 31)),
        (12, utc(2025, 2, 28, 23), utc(2024, 2, 28, 23)),
        (48, utc(2024, 2, 29, 12), utc(2020, 2, 29, 12)),
        ("5", utc(2026, 5, 15), utc(2025, 12, 15)),
        (MAX_MONTHS, utc(2026, 5, 15), utc(1926, 5, 15)),
    ],
)
def test_the_cutoff_is_so_many_calendar_months_earlier_at_the_same_time_of_day(
    count: int | str, now: datetime, expected: datetime
) -> None:
    assert cutoff(count, now) == expected


@pytest.mark.parametrize(
    ("count", "now", "end"),
    [
        (3, utc(2026, 5, 31, 12), utc(2026, 3, 1)),
        (3, utc(2024, 5, 30, 12), utc(2024, 3, 1)),
        (12, utc(2024, 2, 29, 0), utc(2023, 3, 1)),
        (1, utc(2026, 7, 31), utc(2026, 7, 1)),
    ],
)
def test_a_day_that_the_earlier_month_lacks_is_clamped_to_the_end_of_that_month(
    count: int, now: datetime, end: datetime
) -> None:
    assert cutoff(count, now) == end - MICROSECOND


@given(months, nows, nows)
@example(1, utc(2026, 3, 30, 23), utc(2026, 3, 31, 1))
def test_a_later_now_never_gives_an_earlier_cutoff(count: int, one: datetime, other: datetime) -> None:
    assert cutoff(count, min(one, other)) <= cutoff(count, max(one, other))


@given(months, nows, st.timedeltas(timedelta(0), timedelta(days=4)))
def test_a_slightly_later_now_never_gives_an_earlier_cutoff(count: int, now: datetime, step: timedelta) -> None:
    assert cutoff(count, now) <= cutoff(count, now + step)


@given(months, months, nows)
def test_more_months_give_an_earlier_cutoff(one: int, other: int, now: datetime) -> None:
    assume(one != other)
    assert cutoff(max(one, other), now) < cutoff(min(one, other), now)


@given(months, nows)
def test_the_cutoff_is_aware_in_utc_and_in_the_past(count: int, now: datetime) -> None:
    result = cutoff(count, now)
    assert result.tzinfo is UTC
    assert result < now


@given(months, nows, st.timedeltas(timedelta(0), timedelta(days=28 * 300)))
@example(1, utc(2026, 3, 29), timedelta(days=28))
def test_nothing_younger_than_28_days_a_month_is_ever_older_than_the_cutoff(
    count: int, now: datetime, age: timedelta
) -> None:
    created = now - min(age, timedelta(days=28 * count))
    assert not created < cutoff(count, now)


@given(months, nows)
def test_what_is_older_than_31_days_a_month_is_older_than_the_cutoff(count: int, now: datetime) -> None:
    assert now - timedelta(days=31 * count) - MICROSECOND < cutoff(count, now)


@given(months, nows, zones)
def test_the_same_instant_in_any_zone_gives_the_same_cutoff(count: int, now: datetime, zone: ZoneInfo) -> None:
    local = now.astimezone(zone)
    result = cutoff(count, local)
    assert result == cutoff(count, now)
    assert result.tzinfo is UTC


@given(months, nows, st.integers(-1439, 1439))
def test_the_same_instant_at_any_offset_gives_the_same_cutoff(count: int, now: datetime, minutes: int) -> None:
    assert cutoff(count, now.astimezone(timezone(timedelta(minutes=minutes)))) == cutoff(count, now)


@pytest.mark.parametrize("fold", [0, 1])
def test_both_passes_of_an_hour_that_is_repeated_when_dst_ends_have_their_own_cutoff(fold: int) -> None:
    local = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    assert cutoff(3, local) == utc(2026, 7, 25, fold, 30)


def test_a_new_year_that_has_come_only_locally_does_not_count() -> None:
    assert cutoff(12, datetime(2026, 1, 1, 5, tzinfo=ZoneInfo("Pacific/Kiritimati"))) == utc(2024, 12, 31, 15)


@settings(deadline=None, max_examples=50)
@given(months, nows, zones)
def test_without_now_the_clock_is_asked(count: int, now: datetime, zone: ZoneInfo) -> None:
    with freeze_time(now.astimezone(zone)):
        assert cutoff(count) == cutoff(count, now)


def test_all_cutoffs_of_a_policy_come_from_one_reading_of_the_clock() -> None:
    policy, tick = RetentionPolicy(), timedelta(days=40)
    with freeze_time("2026-05-15 10:30", auto_tick_seconds=tick.total_seconds()):
        read = policy.cutoffs()
    # A garbage collection, which Hypothesis times, or another thread may have read it before.
    assert read in [policy.cutoffs(utc(2026, 5, 15, 10, 30) + number * tick) for number in range(20)]
    assert policy.cutoffs(utc(2026, 5, 15, 10, 30)) == {
        Kind.ARTIFACTS: utc(2026, 2, 15, 10, 30),
        Kind.RESULTS: utc(2025, 12, 15, 10, 30),
        Kind.RUNS: utc(2025, 5, 15, 10, 30),
    }


@given(nows)
def test_the_cutoffs_of_a_policy_are_those_of_its_months(now: datetime) -> None:
    policy = RetentionPolicy(4, 8, 24)
    assert policy.cutoffs(now) == {
        Kind.ARTIFACTS: cutoff(4, now),
        Kind.RESULTS: cutoff(8, now),
        Kind.RUNS: cutoff(24, now),
    }


def test_a_naive_now_is_refused_by_name() -> None:
    with pytest.raises(RetentionError, match=r"now is 2026-05-15T10:30:00, which has no time zone"):
        cutoff(3, datetime(2026, 5, 15, 10, 30))  # noqa: DTZ001
    with pytest.raises(RetentionError, match="no time zone"):
        RetentionPolicy().cutoffs(datetime(2026, 5, 15))  # noqa: DTZ001


@pytest.mark.parametrize("now", [date(2026, 5, 15), "2026-05-15", 1778841000])
def test_a_now_that_is_no_datetime_is_refused(now: Any) -> None:
    with pytest.raises(RetentionError, match="which is not a datetime"):
        cutoff(3, now)


def test_a_cutoff_before_the_year_1_is_refused() -> None:
    assert cutoff(12, utc(2, 1, 1)) == utc(1, 1, 1)
    with pytest.raises(RetentionError, match=r"13 months before it is before the year 1\."):
        cutoff(13, utc(2, 1, 1))


def test_a_now_at_the_end_of_the_calendar_that_utc_lacks_is_refused() -> None:
    with pytest.raises(RetentionError, match="no date in UTC"):
        cutoff(3, datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))))


@given(st.integers(1, MAX_MONTHS))
def test_a_positive_int_and_its_digits_are_so_many_months(count: int) -> None:
    assert parse_months(count) == parse_months(str(count)) == parse_months(f"{count:06}") == count


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, None, 3.0, 3.5, float("nan"), Decimal(3), b"3", [3], (3,), {}),
        *("", " ", " 3", "3 ", "3\n", "+3", "-3", "3.0", "3e0", "0x3", "1_0", "٣", "³", "three", "3 months"),
    ],
)
def test_what_is_no_whole_number_is_refused_with_its_name_and_value(value: object) -> None:
    with pytest.raises(RetentionError) as refusal:
        parse_months(value, what="the retention of runs")
    assert str(refusal.value) == f"the retention of runs is {value!r}, which is not a whole number of months."


@pytest.mark.parametrize("value", [0, -1, -1000, "0", "000", pytest.param(-(10**5000), id="huge")])
def test_less_than_a_month_is_refused(value: object) -> None:
    with pytest.raises(RetentionError, match=r"^months is .*; it must be at least 1 month\."):
        parse_months(value)


@pytest.mark.parametrize(
    "value",
    [
        MAX_MONTHS + 1,
        str(MAX_MONTHS + 1),
        "9" * 5,
        pytest.param(10**5000, id="huge int"),
        pytest.param("9" * 5000, id="huge str"),
    ],
)
def test_more_than_a_hundred_years_is_refused_shortly(value: object) -> None:
    with pytest.raises(RetentionError, match=r"; it must be at most 1200 months\.") as refusal:
        parse_months(value)
    assert len(str(refusal.value)) < 150


def test_an_int_of_a_subclass_becomes_a_plain_int() -> None:
    class Count(int):
        pass

    assert type(parse_months(Count(3))) is int


def test_the_default_policy_is_the_specifications() -> None:
    policy = RetentionPolicy()
    assert (policy.artifacts, policy.results, policy.runs) == (3, 5, 12)
    assert {kind: policy.months(kind) for kind in Kind} == dict(DEFAULTS)


def test_the_policy_at_the_floors_exists_and_nothing_below() -> None:
    assert dict(FLOORS) == {Kind.ARTIFACTS: 2, Kind.RESULTS: 4, Kind.RUNS: 10}
    assert RetentionPolicy(2, 4, 10).months(Kind.RUNS) == 10
    for kind in Kind:
        with pytest.raises(
            RetentionError, match=rf"The retention of {kind} is .*never less than {FLOORS[kind]} months"
        ):
            RetentionPolicy(2, 4, 10).with_months(kind, FLOORS[kind] - 1)


# Things that a task's argument, an environment variable or a client may hold, many of them near the floors.
anything = st.one_of(
    st.integers(-2, 30),
    st.integers(-2, 30).map(str),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(("٣", "1_0", "1e1", " 12", "0012", b"12")),
)


@given(anything, anything, anything)
@example("5", 6, "0012")
def test_a_policy_either_makes_sense_or_does_not_exist(artifacts: Any, results: Any, runs: Any) -> None:
    try:
        policy = RetentionPolicy(artifacts, results, runs)
    except RetentionError as refusal:
        assert str(refusal).endswith(".")
        return
    assert all(type(policy.months(kind)) is int for kind in Kind)
    assert all(policy.months(kind) >= FLOORS[kind] for kind in Kind)
    assert policy.artifacts < policy.results < policy.runs
    assert (policy.artifacts, policy.results, policy.runs) == (int(artifacts), int(results), int(runs))


@given(st.integers(0, 8), st.integers(2, 12), st.integers(8, 16))
def test_a_policy_is_refused_only_for_its_floors_and_its_order(artifacts: int, results: int, runs: int) -> None:
    senseless = artifacts < 2 or results < 4 or runs < 10 or not artifacts < results < runs
    if senseless:
        with pytest.raises(RetentionError):
            RetentionPolicy(artifacts, results, runs)
    else:
        RetentionPolicy(artifacts, results, runs)


@given(st.sampled_from(Kind), anything)
@example(Kind.RESULTS, "5")
@example(Kind.RESULTS, 3)
def test_one_replaced_value_is_checked_with_the_whole_policy(kind: Kind, value: Any) -> None:
    values: dict[str, Any] = {**DEFAULTS, kind: value}
    try:
        expected = RetentionPolicy(**values)
    except RetentionError:
        with pytest.raises(RetentionError):
            RetentionPolicy().with_months(kind, value)
    else:
        assert RetentionPolicy().with_months(kind, value) == expected


def test_a_tasks_argument_may_be_digits() -> None:
    assert RetentionPolicy().with_months(Kind.RESULTS, "5") == RetentionPolicy()
    assert RetentionPolicy().with_months(Kind.RUNS, "24").runs == 24


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (
            Kind.ARTIFACTS,
            5,
            (
                "The retention of results is 5 months and that of artifacts 5 months, "
                "but results must be kept for longer than artifacts."
            ),
        ),
        (
            Kind.RESULTS,
            12,
            (
                "The retention of runs is 12 months and that of results 12 months, "
                "but runs must be kept for longer than results."
            ),
        ),
        (Kind.ARTIFACTS, 1, "The retention of artifacts is 1 month, but never less than 2 months."),
        (Kind.RUNS, "1.5", "the retention of runs is '1.5', which is not a whole number of months."),
    ],
)
def test_a_refusal_says_what_which_and_why(kind: Kind, value: Any, sentence: str) -> None:
    with pytest.raises(RetentionError) as refusal:
        RetentionPolicy().with_months(kind, value)
    assert str(refusal.value) == sentence


def test_the_kind_may_be_its_name_and_no_other_word() -> None:
    name: Any = "results"
    assert RetentionPolicy().months(name) == 5
    assert RetentionPolicy().with_months(name, 6) == RetentionPolicy(results=6)
    for word in ("imports", "__class__", None):
        wrong: Any = word
        with pytest.raises(RetentionError, match="which is none of artifacts, results, runs"):
            RetentionPolicy().with_months(wrong, 6)
        with pytest.raises(RetentionError, match="which is none of artifacts, results, runs"):
            RetentionPolicy().months(wrong)


def test_policy_floors_and_defaults_cannot_be_changed() -> None:
    policy: Any = RetentionPolicy()
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.runs = 1
    for table in (FLOORS, DEFAULTS):
        mutable: Any = table
        with pytest.raises(TypeError):
            mutable[Kind.RUNS] = 1


def test_a_policy_survives_its_storage_and_names_what_is_wrong_in_it() -> None:
    policy = RetentionPolicy(4, 8, 24)
    assert RetentionPolicy.of(policy.as_dict()) == policy
    assert RetentionPolicy.of({"runs": 36}, policy) == RetentionPolicy(4, 8, 36)
    assert RetentionPolicy.of({}) == RetentionPolicy()
    with pytest.raises(RetentionError, match="'artefacts', which is none of artifacts, results, runs"):
        RetentionPolicy.of({"artefacts": 4})
    with pytest.raises(RetentionError, match="results is 3 months, but never less than 4"):
        RetentionPolicy.of({"results": 3}, policy)
