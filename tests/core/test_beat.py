"""Beat sends at the slots that the schedule names, however often it was restarted."""

from __future__ import annotations

import datetime as dt

import pytest
from flask import Flask
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from ibutsu_core import schedule
from ibutsu_core.beat import StatelessScheduler
from ibutsu_core.celery_utils import create_flask_celery_app
from ibutsu_core.retention import RetentionPolicy
from ibutsu_core.settings import CelerySettings

SETTINGS = CelerySettings(broker_url="redis://127.0.0.1:1/0", result_backend="redis://127.0.0.1:1/0")
ENTRIES = {entry.name: entry for entry in schedule.beat_entries()}

instants = st.integers(0, 15 * 365 * 86400).map(
    lambda n: dt.datetime(2020, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=n)
)


def scheduler() -> StatelessScheduler:
    """Start beat's scheduler, now."""
    app = create_flask_celery_app(Flask("flask"), "tests", settings=SETTINGS, policy=RetentionPolicy())
    return StatelessScheduler(app, lazy=False)


@given(instants, st.sampled_from(sorted(ENTRIES)))
def test_a_scheduler_that_starts_waits_for_the_slot_that_it_logs(now: dt.datetime, name: str) -> None:
    with freeze_time(now):
        entry = scheduler().schedule[name]
        due, wait = entry.is_due()
    assert not due
    expected = (schedule.next_due(ENTRIES[name].schedule, now) - now).total_seconds()
    assert wait == pytest.approx(expected, abs=1.5)


def test_an_interval_keeps_to_its_slots_after_it_was_sent_late() -> None:
    with freeze_time("2026-03-01T12:07:00Z") as clock:
        entry = scheduler().schedule["sync-aborted-runs"]
        clock.move_to("2026-03-01T12:30:03Z")
        assert entry.is_due().is_due
        assert next(entry).is_due().next == pytest.approx(30 * 60 - 3, abs=1.5)
