"""The part of a worker that takes messages from the broker, made to outlive a broker that is restarted."""

from __future__ import annotations

import logging

from celery.worker.consumer import Consumer

from ibutsu_core.heart import HEART

logger = logging.getLogger(__name__)


class SteadyConsumer(Consumer):
    """Lets no failure to tidy up after a lost connection end the worker.

    Celery closes the lost connection, and with it Kombu gives messages back to a Redis that is not there. What that
    raises depends on how far the connection was taken apart; Celery ignores some of it, and ends with the rest. What
    cannot be given back is taken up by the repair. The same happens to a task that began before the connection was lost
    and is acknowledged after that; its message comes again, and finds nothing to do.
    """

    connection_errors: tuple[type[Exception], ...]

    def update_strategies(self) -> None:
        """Say which errors a task's acknowledgement may meet: beside the connection's, that of one taken apart."""
        errors = self.connection_errors
        self.connection_errors = (*errors, AttributeError)
        try:
            super().update_strategies()
        finally:
            self.connection_errors = errors

    def on_ready(self) -> None:
        """Take tasks, the first time or again."""
        super().on_ready()
        HEART.works = True

    def on_close(self) -> None:
        """Take no tasks, until there is another connection or for good."""
        HEART.works = False
        super().on_close()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Tidy up; the connection itself is made anew by the caller."""
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as error:  # noqa: BLE001 - the worker connects again, whatever this was
            logger.warning("The lost connection could not be closed: %s", error)
            self.connection = None
