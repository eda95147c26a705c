"""Beat sends at the slots that the schedule names, however often it was restarted."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flask import Flask
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from ibutsu_core import beat, schedule
from ibutsu_core.beat import EXTENSION, StatelessScheduler
from ibutsu_core.celery_utils import create_flask_celery_app
from ibutsu_core.retention import RetentionPolicy
from ibutsu_core.schedule import Crontab, Every, Known
from ibutsu_core.settings import CelerySettings
from ibutsu_core.slots import Slot

HOURLY, DAILY = Every(dt.timedelta(hours=1)), Crontab("30", "4")
BOTH = [schedule.Entry("hourly", "a.task", HOURLY, (3,)), schedule.Entry("daily", "another.task", DAILY)]

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


@given(instants, st.sampled_from(sorted(ENTRIES)), st.timedeltas(dt.timedelta(days=1), dt.timedelta(days=3000)))
def test_a_clock_that_was_ahead_for_a_while_keeps_back_no_slot(
    now: dt.datetime, name: str, ahead: dt.timedelta
) -> None:
    with freeze_time(now) as clock:
        entry = scheduler().schedule[name]
        clock.move_to(now + ahead)
        if entry.is_due().is_due:
            entry = next(entry)
        clock.move_to(now)
        assert not entry.is_due().is_due
        clock.move_to(schedule.next_due(ENTRIES[name].schedule, now))
        assert entry.is_due().is_due


# The ledger --------------------------------------------------------------------------------------------------------


class Memory:
    """A ledger in memory. A set `away` makes it fail as a database does."""

    def __init__(self) -> None:
        self.rows: dict[str, Known] = {}
        self.away = threading.Event()

    def known(self, due: Mapping[str, tuple[str, dt.datetime]]) -> Mapping[str, Known]:
        if self.away.is_set():
            raise ConnectionError("the database is away")
        return {name: self.rows.setdefault(name, Known(slot)) for name, (_, slot) in due.items()}


class Sent:
    """A scheduler of two entries whose messages go through Celery up to the broker, which is in memory."""

    def __init__(self, memory: Memory) -> None:
        flask_app = Flask("flask")
        flask_app.extensions[EXTENSION] = memory
        self.app = create_flask_celery_app(flask_app, "tests", settings=SETTINGS, policy=RetentionPolicy())
        self.app.conf.update(
            broker_url="memory://", result_backend="cache+memory://", broker_transport_options={},
            beat_schedule=schedule.for_celery(BOTH),
        )  # fmt: skip
        self.beat = StatelessScheduler(self.app, lazy=False)
        self.waits = 0.0

    def close(self) -> None:
        self.messages()
        self.beat.close()

    def ticks(self) -> list[tuple[str, dt.datetime]]:
        """Tick until nothing is left to do, and return the entries and slots of the messages."""
        self.waits = 0.0
        while self.waits <= beat.POLL:
            self.waits = self.beat.tick()
        return sorted((slot.entry, slot.due) for slot in self.messages())

    def look_again(self) -> list[tuple[str, dt.datetime]]:
        """Do the same once it is time to look at the ledger again."""
        self.beat._next_look = 0.0
        return self.ticks()

    def messages(self) -> Iterator[Slot]:
        with self.app.connection_for_read() as connection, connection.SimpleQueue("ibutsu") as queue:
            while queue.qsize():
                message: Any = queue.get_nowait()
                message.ack()
                found = Slot.of(message.headers)
                assert found is not None
                yield found


@pytest.fixture
def memory() -> Memory:
    """A ledger that knows nothing."""
    return Memory()


@pytest.fixture
def sender(memory: Memory) -> Iterator[Any]:
    """Start schedulers."""
    started: list[Sent] = []

    def start() -> Sent:
        started.append(Sent(memory))
        return started[-1]

    yield start
    for one in started:
        one.close()


def at(text: str) -> dt.datetime:
    """Return the instant of that day."""
    return dt.datetime.fromisoformat(f"2026-03-01T{text}:00+00:00")


def frozen(text: str) -> Any:
    """Stop the clock."""
    return freeze_time(at(text), ignore=["threading"])


def test_a_new_installation_has_missed_nothing(sender: Any) -> None:
    with frozen("12:07"):
        assert sender().ticks() == []


def test_a_scheduler_that_was_down_sends_the_newest_slot_once_and_none_that_is_older(
    sender: Any, memory: Memory
) -> None:
    memory.rows = {"hourly": Known(at("09:00")), "daily": Known(at("04:30"))}
    with frozen("12:07"):
        one = sender()
        assert one.ticks() == [("hourly", at("12:00"))]
        assert one.look_again() == [], "Its message may wait on the queue."
        memory.rows["hourly"] = Known(at("12:00"), 1)
        assert sender().ticks() == []


def test_a_slot_that_no_worker_begins_with_is_sent_again_after_an_hour(sender: Any, memory: Memory) -> None:
    memory.rows = {"hourly": Known(at("12:00")), "daily": Known(dt.datetime(2026, 2, 28, 4, 30, tzinfo=dt.UTC))}
    with frozen("12:07") as clock:
        one = sender()
        assert one.ticks() == [("daily", at("04:30"))]
        clock.move_to(at("13:06"))
        assert one.look_again() == [("hourly", at("13:00"))]
        clock.move_to(at("13:08"))
        assert one.look_again() == [("daily", at("04:30"))]


def test_a_slot_that_comes_while_the_scheduler_runs_is_sent_once(sender: Any) -> None:
    with frozen("12:07") as clock:
        one = sender()
        assert one.ticks() == []
        clock.move_to(at("13:00"))
        assert one.ticks() == [("hourly", at("13:00"))]
        assert one.look_again() == []


def test_a_slot_that_is_found_owed_just_before_it_would_be_sent_is_sent_once(sender: Any) -> None:
    with frozen("12:07") as clock:
        one = sender()
        clock.move_to(at("13:00"))
        one.beat._send_owed("hourly", Known(at("12:00")))
        assert one.ticks() == [("hourly", at("13:00"))]


def test_a_slot_whose_worker_is_lost_is_sent_again_once_a_loss(sender: Any, memory: Memory) -> None:
    with frozen("12:07"):
        one = sender()
        memory.rows = {"hourly": Known(at("12:00"), 1, lost=True), "daily": Known(at("04:30"))}
        assert one.ticks() == [("hourly", at("12:00"))]
        assert one.look_again() == []
        memory.rows["hourly"] = Known(at("12:00"), 2, lost=True)
        assert one.look_again() == [("hourly", at("12:00"))]


def test_a_database_that_is_away_keeps_back_nothing_that_is_due_and_is_asked_again(
    sender: Any, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    memory.rows = {"hourly": Known(at("12:00"), 1), "daily": Known(dt.datetime(2026, 2, 28, 4, 30, tzinfo=dt.UTC))}
    memory.away.set()
    with frozen("12:07") as clock:
        one = sender()
        assert one.ticks() == []
        assert "The ledger does not say what was missed" in caplog.text
        assert one.waits <= beat.LOOK_AGAIN
        clock.move_to(at("13:00"))
        assert one.ticks() == [("hourly", at("13:00"))]
        memory.away.clear()
        memory.rows["hourly"] = Known(at("13:00"), 1)
        assert one.look_again() == [("daily", at("04:30"))]


def test_what_the_broker_did_not_take_is_sent_when_it_is_back(
    sender: Any, monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    with frozen("12:07") as clock:
        one = sender()
        assert one.ticks() == []

        def refuse(*_: Any, **__: Any) -> None:
            raise ConnectionError("the broker is away")

        monkeypatch.setattr(one.beat, "send_task", refuse)
        clock.move_to(at("13:00"))
        assert one.ticks() == []
        assert one.look_again() == []
        monkeypatch.undo()
        assert one.look_again() == [("hourly", at("13:00"))]
