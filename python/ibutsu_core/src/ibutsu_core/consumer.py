"""The part of a worker that takes messages from the broker, made to outlive a broker that is restarted."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from celery.worker.consumer import Consumer
from celery.worker.consumer.mingle import Mingle
from kombu.exceptions import OperationalError

from ibutsu_core import queues, repair
from ibutsu_core.heart import HEART

logger = logging.getLogger(__name__)


PAUSE = 2.0
"""Seconds to the next attempt where Redis takes no writes."""

MALFORMED = (TypeError, ValueError, LookupError, AttributeError)
"""What Celery raises at a message that has the shape of one, and in it what no sender of tasks writes."""


class SteadyConsumer(Consumer):
    """Lets neither a message nor a failure to tidy up after a lost connection end the worker.

    Celery ends with most messages that nobody can have meant, and gives them back as it does: so they would end the
    next worker, and so on. Here they are dropped, with a line in the log.

    While Redis is full, a message that is taken from the queue is lost, for it cannot be noted as taken. So nothing is
    taken as long as nothing can be written; what was taken before that was seen is sent again by the repair.

    Celery closes the lost connection, and with it Kombu gives messages back to a Redis that is not there. What that
    raises depends on how far the connection was taken apart; Celery ignores some of it, and ends with the rest. What
    cannot be given back is taken up by the repair. The same happens to a task that began before the connection was lost
    and is acknowledged after that; its message comes again, and finds nothing to do.
    """

    connection_errors: tuple[type[Exception], ...]
    hub: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        blueprint: Any = self.blueprint
        for step in blueprint.order:
            if isinstance(step, Mingle):
                step.send_hello = ask_neighbours  # type: ignore[method-assign, assignment]

    def connect(self) -> Any:
        """Connect to a Redis that takes writes, and look at each message before Celery does."""
        connection = super().connect()
        channel: Any = connection.default_channel
        try:
            channel.client.set(queues.WRITTEN, 1, ex=60)
        except redis.ResponseError:
            HEART.beat()
            time.sleep(PAUSE)
            connection.close()
            raise
        channel.handlers["BRPOP"] = Reader(channel, channel.handlers["BRPOP"], self._repair)
        transport = channel.connection
        transport._deliver = functools.partial(_with_shape, transport._deliver)
        return connection

    def _repair(self) -> None:
        logger.warning("Redis was cut off for a while, and what it sent meanwhile is lost; the repair is sent.")
        try:
            repair.send(self.app)
        except (OperationalError, redis.RedisError) as error:
            logger.warning("The repair could not be sent: %s", error)

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """Return what takes each message, and drops one that Celery cannot understand."""
        handle = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except MALFORMED as error:
                _log_dropped(f"{type(error).__name__}: {error}")
                message.ack_log_error(logger, (*self.connection_errors, redis.RedisError))

        return on_task_received

    def update_strategies(self) -> None:
        """Say which errors a task's acknowledgement may meet: beside the connection's, that of one taken apart."""
        errors = self.connection_errors
        self.connection_errors = (*errors, AttributeError)
        try:
            super().update_strategies()
        finally:
            self.connection_errors = errors

    def loop_args(self) -> Any:
        """Begin the loop with living children only: Celery ends with one that ended before it connected."""
        pool = getattr(self.pool, "_pool", None)
        if pool is not None:
            if pool.on_process_down is None and self.hub is not None:
                # Before its first loop, the pool cannot give an ended child's pipes to another yet.
                self.pool.register_with_event_loop(self.hub)
            pool.maintain_pool()
        return super().loop_args()

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


def ask_neighbours(consumer: Any) -> dict[str, Any]:
    """Ask the other workers which tasks were revoked, as Celery does; returns the answers, by the workers' names.

    Celery waits a second for whoever may answer, half of a worker's start; here for those that the broker knows. One
    that was killed is known for a while longer, and then the second passes.
    """
    control = consumer.app.control
    bound = len(consumer.connection.default_channel.get_table(control.mailbox.exchange.name))
    if not bound:
        return {}
    inspect = control.inspect(timeout=1.0, connection=consumer.connection, limit=bound)
    answers: dict[str, Any] = inspect.hello(consumer.hostname, list(consumer.controller.state.revoked)) or {}
    answers.pop(consumer.hostname, None)
    return answers


class Reader:
    """Reads what Redis sends of the queue, and drops what is no JSON.

    A connection of which nothing is heard is replaced by Kombu, silently. A message that Redis had sent on the old one
    is nowhere then, and `replaced` is called.
    """

    def __init__(self, channel: Any, read: Callable[..., Any], replaced: Callable[[], None]) -> None:
        self._channel = channel
        self._read = read
        self._replaced = replaced
        self._socket: Any = None

    def __call__(self, **options: Any) -> Any:
        """Read one reply."""
        socket = self._channel.client.connection._sock
        if socket is not self._socket:
            if self._socket is not None:
                self._replaced()
            self._socket = socket
        try:
            return self._read(**options)
        except ValueError as error:
            _log_dropped(f"it is no JSON ({error})")
            return True


def _with_shape(deliver: Callable[[Any, str], None], message: Any, queue: str) -> None:
    if problem := queues.malformed(message):
        _log_dropped(problem)
    else:
        deliver(message, queue)


def _log_dropped(problem: str) -> None:
    logger.error("A message on the queue is none of a task, and is dropped: %s", problem)
