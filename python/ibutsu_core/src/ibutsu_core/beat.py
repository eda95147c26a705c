"""The beat scheduler's memory."""

from __future__ import annotations

from typing import Any

from celery import schedules
from celery.beat import Scheduler

from ibutsu_core.heart import HEART
from ibutsu_core.schedule import Every, latest_due

TURN = 5.0
"""Seconds that a turn of the scheduler's loop takes at most when nothing is due."""


class StatelessScheduler(Scheduler):
    """Celery's scheduler without the file of the last runs.

    A pod's file system is read-only and gone with it, so such a file says nothing after a restart. An interval's slots
    are therefore those of `schedule.latest_due`, not counted from the start: else a scheduler that restarts more often
    than the interval would never send.
    """

    def setup_schedule(self) -> None:
        """Take the schedule from the configuration."""
        self.install_default_entries(self.schedule)
        self.merge_inplace(self.app.conf.beat_schedule)
        for entry in self.schedule.values():
            if isinstance(entry.schedule, schedules.schedule):
                entry.last_run_at = latest_due(Every(entry.schedule.run_every), self.app.now())  # type: ignore[attr-defined]

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; return the seconds to the next turn."""
        HEART.beat()
        delay: float = super().tick(*args, **kwargs)
        HEART.beat()
        HEART.works = True
        return min(delay, TURN)
