"""The beat scheduler: it sends each slot of the schedule, and what the ledger lacks."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import BaseSchedule, schedstate

from ibutsu_core import repair
from ibutsu_core.heart import HEART
from ibutsu_core.schedule import EPOCH, Known, Schedule, from_celery, latest_due, next_due, owed
from ibutsu_core.slots import Slot
from ibutsu_core.task import FlaskApplication

logger = logging.getLogger(__name__)

EXTENSION = "ibutsu_ledger"
"""Where the scheduler's Flask application keeps its `Ledger`, in its `extensions`."""

TURN = 5.0
"""Seconds that a turn of the scheduler's loop takes at most when nothing is due."""

LOOK_EVERY = 60.0
"""Seconds between two looks at the ledger."""

LOOK_AGAIN = 10.0
"""Seconds to the next look where the database did not answer."""

POLL = 0.2
"""Seconds between two questions whether the database has answered."""

SEND_AGAIN = 60 * 60.0
"""Seconds after which what was sent, and no worker has begun with, is sent again: Redis may have lost the message."""


class Ledger(Protocol):
    """The part of the ledger of periodic tasks that a scheduler reads."""

    def known(self, due: Mapping[str, tuple[str, dt.datetime]]) -> Mapping[str, Known]:
        """Return the newest slot that the ledger has of each entry, given its task and the newest slot that is due.

        An entry that the ledger has never seen is new, and what was due before is not missed: that slot is noted.
        """


class SlotEntry(ScheduleEntry):
    """An entry whose `last_run_at` is the slot that was sent last, or that was past when the scheduler started."""

    schedule: BaseSchedule
    last_run_at: dt.datetime

    @property
    def slots(self) -> Schedule:
        """The schedule, of which every scheduler computes the same slots."""
        return from_celery(self.schedule)

    def is_due(self) -> schedstate:
        """Return whether a slot has come since the last, and the seconds to the next."""
        now = self.default_now()
        wait = next_due(self.slots, now) - now
        due = latest_due(self.slots, now)
        # A slot of the future was sent by a clock that was wrong. The present one may have been sent before that; to
        # wait for that future would leave out all others.
        self.last_run_at = min(self.last_run_at, due)
        return schedstate(due > self.last_run_at, wait.total_seconds())

    def __next__(self, last_run_at: dt.datetime | None = None) -> SlotEntry:
        """Return the entry with its newest slot as the last that was sent."""
        newest = latest_due(self.slots, last_run_at or self.default_now())
        return self._with(last_run_at=max(newest, self.last_run_at), total_run_count=self.total_run_count + 1)

    def with_slot(self, now: dt.datetime) -> SlotEntry:
        """Return the entry with its slot in the headers of its message."""
        headers = Slot(str(self.name), self.last_run_at, now).headers()
        return self._with(options={**(self.options or {}), "headers": headers})

    def _with(self, **changes: Any) -> SlotEntry:
        return type(self)(**{**vars(self), **changes})


class StatelessScheduler(Scheduler):
    """Celery's scheduler without the file of the last runs: the ledger knows them, as far as it can be asked.

    A pod's file system is read-only and gone with it, so such a file says nothing after a restart. The slots are those
    of `ibutsu_core.schedule`, not counted from the start: every scheduler sends the same, with the slot in the message,
    so that a worker takes it once. The ledger is asked at the start and each minute, on a thread of its own: a database
    that is away keeps back nothing that is due.
    """

    Entry = SlotEntry
    schedule: dict[str, Any]

    _ledger: Ledger | None = None
    _mark: repair.Mark | None = None
    _look: Future[Mapping[str, Known]] | None = None
    _next_look = 0.0

    def setup_schedule(self) -> None:
        """Take the schedule from the configuration."""
        self.install_default_entries(self.schedule)
        self.merge_inplace(self.app.conf.beat_schedule)
        now = self.app.now()
        for entry in self.schedule.values():
            entry.last_run_at = latest_due(entry.slots, now)
        flask_app: FlaskApplication = self.app.flask_app  # type: ignore[attr-defined]
        self._ledger = flask_app.extensions.get(EXTENSION)
        self._mark = flask_app.extensions.get(repair.Mark.EXTENSION)
        # What this process sent last of each entry: the slot, how many workers had begun with it, and when that was.
        self._sent: dict[str, tuple[dt.datetime, int, float]] = {}

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due and what is owed; return the seconds to the next tick."""
        HEART.beat()
        delay: float = super().tick(*args, **kwargs)
        if self._ledger is not None:
            delay = min(delay, self._catch_up(self._ledger))
        if self._mark is not None and self._mark.is_gone():
            self._repair(self._mark)
        HEART.beat()
        HEART.works = True
        return min(delay, TURN)

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send the entry for the slot that was reserved for it."""
        if advance:
            self.reserve(entry)
        name = str(entry.name)
        reserved: SlotEntry = self.schedule[name]
        message = reserved.with_slot(self.app.now())
        result = super().apply_async(message, producer=producer, advance=False, **kwargs)
        self._sent[name] = (reserved.last_run_at, 0, time.monotonic())
        return result

    def _repair(self, mark: repair.Mark) -> None:
        """Send the repair of what a Redis lost that is new, or was wiped."""
        logger.warning("Redis has lost what it was given, or is new; the repair is sent.")
        try:
            repair.send(self.app)
            mark.make()
        except Exception as error:  # noqa: BLE001 - the next look finds the mark gone again
            logger.warning("The repair could not be sent: %s", error)

    def _catch_up(self, ledger: Ledger) -> float:
        """Look at the ledger when it is time, and send what that finds; return the seconds to the next call."""
        if self._look is None:
            wait = self._next_look - time.monotonic()
            if wait > 0:
                return wait
            now = self.app.now()
            due = {name: (entry.task, latest_due(entry.slots, now)) for name, entry in self.schedule.items()}
            self._look = _ask(ledger, due)
        if not self._look.done():
            return POLL
        look, self._look = self._look, None
        error = look.exception()
        pause = LOOK_EVERY if error is None else LOOK_AGAIN
        self._next_look = time.monotonic() + pause
        if error is not None:
            logger.warning("The ledger does not say what was missed; asked again in %.0f s: %s", pause, error)
            return pause
        for name, known in look.result().items():
            self._send_owed(name, known)
        return pause

    def _send_owed(self, name: str, known: Known) -> None:
        entry: SlotEntry = self.schedule[name]
        slot = owed(entry.slots, known, self.app.now())
        if slot is None:
            return
        attempts = known.attempts if slot == known.slot else 0
        sent_slot, sent_attempts, when = self._sent.get(name, (EPOCH, 0, 0.0))
        # What this process sent may still wait on the queue.
        if (sent_slot, sent_attempts) >= (slot, attempts) and time.monotonic() < when + SEND_AGAIN:
            return
        reason = "its worker was lost" if attempts else "no worker has begun with it"
        logger.info("Scheduler: Sending %s for its slot %s: %s", name, slot.isoformat(), reason)
        entry.last_run_at = max(entry.last_run_at, slot)
        try:
            self.apply_async(entry, producer=self.producer, advance=False)
        except Exception as error:  # noqa: BLE001 - the next look finds it owed again
            logger.warning("%s could not be sent for its slot %s: %s", name, slot.isoformat(), error)
        else:
            self._sent[name] = (slot, attempts, time.monotonic())


def _ask(ledger: Ledger, due: Mapping[str, tuple[str, dt.datetime]]) -> Future[Mapping[str, Known]]:
    answer: Future[Mapping[str, Known]] = Future()

    def ask() -> None:
        try:
            answer.set_result(ledger.known(due))
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            answer.set_exception(error)

    threading.Thread(target=ask, name="ledger", daemon=True).start()
    return answer
