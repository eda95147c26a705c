"""Numbers and times as tools write them."""

from __future__ import annotations

import datetime as dt

import pytest

from ibutsu_server.reports.values import instant, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("1,234.5", 1234.5),
        ("1,234,567", 1234567),
        ("1,234", 1234),
        ("0,25", 0.25),
        ("0,250", 0.25),
        ("12,5", 12.5),
        ("1.234,5", 1234.5),
        ("1e3", 1000),
        (" 2 ", 2),
        ("0.5s", 0.5),
        ("", 0),
        (None, 0),
        ("-1", 0),
        ("NaN", 0),
        ("inf", 0),
        ("1e999", 0),
        ("soon", 0),
        ("1.2.3", 0),
    ],
)
def test_seconds(text: str | None, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.678901234Z", "2026-01-02T03:04:05.678901+00:00"),
        ("2026-01-02 03:04:05+02:00", "2026-01-02T01:04:05+00:00"),
        ("2026-01-02T03:04:05 UTC", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02 03:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.6789012+01:00", "2026-01-02T02:04:05.678901+00:00"),
        ("20260102T030405Z", "2026-01-02T03:04:05+00:00"),
        ("Fri, 02 Jan 2026 03:04:05 +0100", "2026-01-02T02:04:05+00:00"),
        ("1767323045", "2026-01-02T03:04:05+00:00"),
        ("1767323045000", "2026-01-02T03:04:05+00:00"),
    ],
)
def test_instants(text: str, value: str) -> None:
    assert instant(text) == dt.datetime.fromisoformat(value)


@pytest.mark.parametrize(
    "text", ["", None, "  ", "yesterday", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1970-01-01", "9" * 400]
)
def test_what_is_no_time(text: str | None) -> None:
    assert instant(text) is None


@pytest.mark.parametrize("text", ["1e300", "1.7e308", "inf", "1000000000001"])
def test_a_time_that_no_test_can_take_says_nothing(text: str) -> None:
    assert seconds(text) == 0.0
