"""The beat scheduler's memory."""

from __future__ import annotations

from celery.beat import Scheduler


class StatelessScheduler(Scheduler):
    """Celery's scheduler without the file of the last runs.

    A pod's file system is read-only and gone with it, so such a file says nothing after a restart.
    """

    def setup_schedule(self) -> None:
        """Take the schedule from the configuration."""
        self.install_default_entries(self.schedule)
        self.merge_inplace(self.app.conf.beat_schedule)
