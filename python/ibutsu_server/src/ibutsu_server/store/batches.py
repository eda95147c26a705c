"""Many short transactions in place of a long one: each gives way to others, and its size follows from its time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from ibutsu_core.pacing import Pace

LOCK_TIMEOUT = 50
"""Milliseconds that a batch waits for others' locks."""

REST = 0.1
"""Of the time of each batch, so much is left to others after it."""

PATIENCE = 30
"""Batches in a row that may be given up before the error is raised."""

# Lock not available, deadlock, and cancelled by the time limit: a smaller batch, a little later, may pass.
_STEP_BACK = ("55P03", "40P01", "57014")

# What was deleted is deleted again after a crash of the server, so nobody waits for the disk. A batch looks up a few
# thousand rows by their keys; the planner, who cannot know how many, would read a small table once for each, also in
# the plans of the foreign keys, which are kept while the table grows.
_LIMITS = sa.text(
    """
    SELECT set_config('statement_timeout', :limit, true), set_config('lock_timeout', :lock, true),
           set_config('synchronous_commit', 'off', true), set_config('enable_seqscan', 'off', true)
    """
)

FIRST_PACE = Pace()

Done = TypeVar("Done")


class OutOfTimeError(Exception):
    """The time budget is spent; what was done is committed."""


class Batches:
    """Runs batches on one connection. `budget` is in seconds, None for no end; `pace` is that of the first batches."""

    def __init__(
        self,
        connection: sa.Connection,
        *,
        budget: float | None = None,
        pace: Pace = FIRST_PACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection
        self.count = 0
        self.stepped_back = 0
        self._clock = clock
        self._end = None if budget is None else clock() + budget
        self._first_pace = pace
        self._paces: dict[str, Pace] = {}

    def run(self, name: str, batch: Callable[[Pace], Done], *, rows: Callable[[Done], int]) -> Done:
        """Run a batch in a transaction of its own and return what it returns.

        `batch` gets its pace: how many rows it may take, and how often it failed. It runs again, with fewer, when it
        meets a lock, a deadlock or the time limit; `rows` says how many it took. Batches of one `name` are alike, and
        share their pace.
        """
        while True:
            pace = self._paces.get(name, self._first_pace)
            begun = self._clock()
            try:
                with self.connection.begin():
                    limits = {"limit": str(max(1, int(pace.limit * 1000))), "lock": str(LOCK_TIMEOUT)}
                    self.connection.execute(_LIMITS, limits)
                    done = batch(pace)
            except exc.DBAPIError as error:
                self._step_back(name, pace, error)
                continue
            seconds = self._clock() - begun
            self._paces[name] = pace.after(rows(done), seconds)
            self.count += 1
            time.sleep(seconds * REST)
            return done

    def check_time(self) -> None:
        """Raise OutOfTimeError when the budget is spent. Whoever asks has got on, so that the work comes to an end."""
        if self._end is not None and self._clock() >= self._end:
            raise OutOfTimeError

    def _step_back(self, name: str, pace: Pace, error: exc.DBAPIError) -> None:
        state = getattr(error.orig, "pgcode", None)
        if error.connection_invalidated or state not in _STEP_BACK or pace.failures >= PATIENCE:
            raise error
        self.stepped_back += 1
        self._paces[name] = pace.after_failure()
        time.sleep(self._paces[name].pause(random.random()))  # noqa: S311 - no secret
