"""The end of a worker that is told to end: what runs is finished in the time that there is, or goes back to the queue.

Celery's warm shutdown has no bound, and its cold one hands nothing back once the warm one has begun. Who ends a worker
has a bound, after which it kills: then the messages in hand would stay with Redis for the visibility timeout.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state

logger = logging.getLogger(__name__)

HandedBack = Callable[[list[Any]], None]
"""Called with the requests (`celery.worker.request.Request`) whose tasks were ended, before the process ends."""


def bound(celery: Celery, seconds: float, handed_back: HandedBack) -> None:
    """Have the worker that gets SIGTERM hand back what still runs after so many seconds, or at SIGQUIT, and end."""

    class Bound(bootsteps.Step):
        """Waits beside the warm shutdown, which blocks the main thread."""

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._worker = parent
            self._asked = threading.Event()
            signals.worker_shutting_down.connect(self._begin)

        def _begin(self, how: str, **_: Any) -> None:
            if how != "Warm" or self._asked.is_set():
                return
            # This runs in Celery's own signal handler, in the main thread.
            signal.signal(signal.SIGQUIT, lambda *_: self._asked.set())
            threading.Thread(target=self._wait, name="shutdown", daemon=True).start()

        def _wait(self) -> None:
            self._asked.wait(seconds)
            # No daemon: the main thread ends as soon as the children have, and is to wait for what is noted of them.
            threading.Thread(target=self._hand_back, name="hand-back", daemon=False).start()

        def _hand_back(self) -> None:
            try:
                hand_back(self._worker, handed_back)
            except Exception as error:  # noqa: BLE001 - the repair takes up what cannot be handed back
                logger.warning("What runs could not be handed back: %s", error)
            finally:
                logging.shutdown()
                os._exit(0)

    celery.steps["worker"].add(Bound)


def hand_back(worker: Any, handed_back: HandedBack) -> None:
    """End the worker's children, and put the messages of all that it has not finished back on the queue."""
    requests = list(state.active_requests)
    for request in requests:
        logger.warning("Task %s[%s] is handed back: its worker has no more time for it.", request.name, request.id)
        request.cancel(worker.pool, signal.SIGKILL, emit_retry=False)
    connection = worker.consumer.connection
    try:
        if connection is not None:
            # The first to be consumed, for they have waited the longest.
            connection.default_channel.qos.restore_unacked_once()
    finally:
        # Even where Redis is away, or the main thread was quicker: what the repair takes up has lost no worker.
        handed_back(requests)
