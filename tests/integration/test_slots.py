"""Real schedulers and workers: each slot is done once, however many of them there are and whoever is killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.schedule import Every, latest_due
from ibutsu_core.settings import CelerySettings
from ibutsu_core.slots import Slot
from ibutsu_server.store.models import Maintenance

StartWorker = Callable[..., AbstractContextManager[Path]]
StartScheduler = Callable[..., AbstractContextManager["Scheduler"]]
Until = Callable[..., None]

PROGRAM = """
from datetime import timedelta
from ibutsu_core.schedule import Entry, Every, for_celery
from ibutsu_server import scheduler_app as app
entry = Entry("often", "ibutsu_server.tasks.{task}", Every(timedelta(seconds={seconds})), {args})
app.conf.beat_schedule = for_celery([entry])
"""
SYNC = "runs.sync_aborted_runs"


class Scheduler:
    """A scheduler's process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def sent(self) -> int:
        """Return how often it has sent a task."""
        return self.log.read_text().count("Scheduler: Sending")


@pytest.fixture
def start_scheduler(environment: dict[str, str], tmp_path: Path) -> StartScheduler:
    """Start a real scheduler whose only entry is due every few seconds; it is killed at the end of the block."""

    @contextlib.contextmanager
    def start(seconds: int, task: str = SYNC, args: tuple[object, ...] = ()) -> Iterator[Scheduler]:
        name = f"often_{uuid.uuid4().hex[:6]}"
        (tmp_path / f"{name}.py").write_text(PROGRAM.format(task=task, seconds=seconds, args=args))
        path = f"{tmp_path}:{environment.get('PYTHONPATH', '')}"
        log = tmp_path / f"{name}.log"
        command = [sys.executable, "-m", "celery", "--app", name, "beat"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, env={**environment, "PYTHONPATH": path}, stdout=output, stderr=output)
        try:
            yield Scheduler(process, log)
        finally:
            process.kill()
            process.wait()

    return start


def ledger_of(session: Session) -> list[Maintenance]:
    """Read the ledger's periodic rows, the earliest slot first."""
    session.rollback()
    query = sa.select(Maintenance).where(Maintenance.entry.is_not(None)).order_by(Maintenance.slot)
    return list(session.scalars(query.execution_options(populate_existing=True)))


@pytest.fixture
def celery(broker_url: str) -> Celery:
    """What tasks are sent with."""
    return create_broker_celery_app("tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url))


def done(rows: list[Maintenance]) -> int:
    return sum(row.status == "done" for row in rows)


@pytest.mark.slow
def test_three_schedulers_of_which_one_is_killed_as_a_slot_comes_do_each_slot_once(
    start_scheduler: StartScheduler, start_worker: StartWorker, session: Session, until: Until
) -> None:
    with (
        start_worker(CELERY_WORKER_CONCURRENCY="2") as log,
        start_scheduler(2) as one,
        start_scheduler(2) as two,
        start_scheduler(2) as three,
    ):
        until(lambda: one.sent() and two.sent() and three.sent(), log)
        time.sleep(2 - time.time() % 2)
        one.process.kill()
        before = done(ledger_of(session))
        until(lambda: done(ledger_of(session)) >= before + 3 and " is taken: " in log.read_text(), log)
    rows = ledger_of(session)
    assert [row.status for row in rows] == ["skipped", *["done"] * (len(rows) - 1)]
    assert {row.attempts for row in rows[1:]} == {1}
    assert one.sent() + two.sent() + three.sent() > len(rows)
    in_all = session.scalars(sa.select(Maintenance).where(Maintenance.status == "done")).all()
    assert log.read_text().count("repaired 0 runs") == len(in_all)
    row = rows[-1]
    assert row.counts == {"repaired": 0, "failed": 0, "aborted": 0, "sent": 0}
    assert row.slot and row.sent and row.started and row.finished
    assert row.slot <= row.sent
    assert row.worker and row.worker.startswith("celery@")


def test_a_slot_that_came_while_no_scheduler_ran_is_made_up_for_once_and_older_ones_are_not(
    session: Session, start_scheduler: StartScheduler, start_worker: StartWorker, until: Until
) -> None:
    day = 24 * 60 * 60
    today = latest_due(Every(dt.timedelta(seconds=day)), dt.datetime.now(dt.UTC))
    before = today - dt.timedelta(days=5)
    session.add(Maintenance(entry="often", task="a.task", slot=before, started=before, finished=before, attempts=1))
    session.commit()
    with start_scheduler(day) as one, start_scheduler(day) as two:
        # They send the repair of an empty Redis too, so messages alone say little.
        until(lambda: all("no worker has begun with it" in each.log.read_text() for each in (one, two)), one.log)
        with start_worker() as log:
            until(lambda: done(ledger_of(session)) == 2 and " is taken: " in log.read_text(), log)
    assert [(row.slot, row.attempts) for row in ledger_of(session)] == [(before, 1), (today, 1)]


def test_a_scheduler_starts_without_its_database_and_sends_what_is_due(
    start_scheduler: StartScheduler, environment: dict[str, str], until: Until
) -> None:
    environment["POSTGRESQL_PORT"] = "1"
    with start_scheduler(2) as one:
        until(lambda: "The ledger does not say what was missed" in one.log.read_text(), one.log)
        until(one.sent, one.log)
        assert one.process.poll() is None
        assert environment["POSTGRESQL_PASSWORD"] not in one.log.read_text()


@pytest.fixture
def standstill(other: Session) -> Callable[[], AbstractContextManager[None]]:
    """While the block runs, pruning stands still in its middle: its sessions wait for a lock."""

    @contextlib.contextmanager
    def standstill() -> Iterator[None]:
        other.execute(sa.text("LOCK TABLE artifacts IN EXCLUSIVE MODE"))
        try:
            yield
        finally:
            other.rollback()

    return standstill


WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
"""The sessions that stand still."""


def child() -> psutil.Process:
    """Return the process in which the one worker runs its tasks."""
    (worker,) = [one for one in psutil.Process().children() if "ibutsu_server:worker_app" in one.cmdline()]
    (found,) = worker.children()
    return found


def test_a_slot_whose_worker_is_killed_and_then_its_database_in_its_middle_is_taken_over_and_done(
    celery: Celery, start_worker: StartWorker, standstill: Any, session: Session, until: Until
) -> None:
    now = dt.datetime.now(dt.UTC)
    headers: Any = Slot("prune", latest_due(Every(dt.timedelta(minutes=1)), now), now).headers()

    def send() -> Any:
        return celery.send_task("ibutsu_server.tasks.db.prune_old_files", (3,), headers=headers)

    with start_worker() as log:
        with standstill():
            outcome = send()
            until(lambda: [row.status for row in ledger_of(session)] == ["running"], log)
            first = child()
            first.kill()
            until(lambda: [row.attempts for row in ledger_of(session)] == [2], log)
            (row,) = ledger_of(session)
            assert row.error == "Its worker was lost (killed, or out of memory)."
            assert child().pid != first.pid
            # A batch waits for a moment only, and comes back.
            until(lambda: session.scalars(sa.text(f"SELECT pg_terminate_backend(pid) {WAITING}")).all(), log)
            until(lambda: [row.attempts for row in ledger_of(session)] == [3], log)
            (row,) = ledger_of(session)
            assert row.error and row.error.startswith(("AdminShutdown: ", "OperationalError: "))
        assert outcome.get(timeout=120)["artifacts"] == 0
        assert "did it, from" in send().get(timeout=120)["taken"]
    (row,) = ledger_of(session)
    assert (row.status, row.attempts, row.bytes) == ("done", 3, 0)
    assert row.counts and {"runs", "results", "artifacts"} < row.counts.keys()


def test_what_fails_and_what_is_sent_by_hand_is_in_the_ledger_too(
    celery: Celery, start_worker: StartWorker, session: Session
) -> None:
    with start_worker():
        with pytest.raises(Exception, match="never less than 2 months"):
            celery.send_task("ibutsu_server.tasks.db.prune_old_files", (1,)).get(timeout=120)
        celery.send_task("ibutsu_server.tasks.db.prune_old_import_files", (1,)).get(timeout=120)
    rows = session.scalars(sa.select(Maintenance).order_by(Maintenance.started)).all()
    assert [(row.status, row.slot, row.entry) for row in rows] == [("error", None, None), ("done", None, None)]
    assert rows[0].error == "The retention of artifacts is 1 month, but never less than 2 months."
    assert rows[1].counts and rows[1].counts["uploads"] == 0
