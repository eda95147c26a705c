"""A task's message in the hands of a worker's main process."""

from __future__ import annotations

from typing import Any

from billiard.exceptions import WorkerLostError
from celery.utils.dispatch import Signal
from celery.worker.request import Request

process_lost = Signal(name="process_lost")
"""Sent in the main process, with the task as its sender, when the process that ran the task was killed."""


class NotedRequest(Request):
    """Tells of a process that was lost, of which Celery's signals say nothing where the message comes again."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Tell, and do as ever."""
        error = exc_info.exception
        if isinstance(getattr(error, "exc", error), WorkerLostError):
            process_lost.send(sender=self.task)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
