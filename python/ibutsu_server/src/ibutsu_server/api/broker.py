"""The two things that the API asks of Redis, each bounded to a few seconds: send a task, see how far one is."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from typing import Any, cast

import flask
import redis
from celery import exceptions
from kombu import exceptions as kombu_exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from ibutsu_core import repair
from ibutsu_core.celery_utils import TRANSPORT_OPTIONS, create_broker_celery_app
from ibutsu_core.settings import CelerySettings

logger = logging.getLogger(__name__)

EXTENSION = "ibutsu_broker"

SEND_TIMEOUT = 2
"""Seconds to connect to the broker, and to wait for its answer, when a task is sent."""

SEND_AGAIN = 5
"""Seconds between two attempts to send the repair of what could not be sent."""

READ_TIMEOUT = 1
"""Seconds to wait for the progress of a task."""

_UNSENT = (kombu_exceptions.OperationalError, exceptions.CeleryError, redis.RedisError, OSError)


class Broker:
    """Sends tasks and reads their states."""

    def __init__(self, settings: CelerySettings) -> None:
        # No result backend: Celery would subscribe to each task's result, and wait for Redis much longer.
        self._celery = create_broker_celery_app("ibutsu_backend", settings=settings)
        self._celery.conf.update(
            result_backend="disabled://",
            broker_connection_timeout=SEND_TIMEOUT,
            broker_transport_options={
                **TRANSPORT_OPTIONS,
                "socket_timeout": SEND_TIMEOUT,
                "socket_connect_timeout": SEND_TIMEOUT,
                "retry_on_timeout": False,
            },
        )
        self._lock = threading.Lock()
        self._repairs = False
        self._results = redis.Redis.from_url(
            settings.result_backend,
            socket_timeout=READ_TIMEOUT,
            socket_connect_timeout=READ_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )

    def send(self, task: str, args: list[Any], task_id: uuid.UUID, *, kwargs: dict[str, Any] | None = None) -> bool:
        """Put the task on the queue; return whether that worked."""
        try:
            self._celery.send_task(
                task,
                args=args,
                kwargs=kwargs,
                task_id=str(task_id),
                retry=True,
                retry_policy={"max_retries": 1, "interval_start": 0.2, "interval_step": 0},
            )
        except _UNSENT as error:
            logger.warning("The task %s %s could not be sent: %s", task, task_id, error)
            self._repair_later()
            return False
        return True

    def _repair_later(self) -> None:
        """Send the repair as soon as the broker takes it: it sends what is stored and was not sent."""
        with self._lock:
            if not self._repairs:
                self._repairs = True
                threading.Thread(target=self._repair, name="repair", daemon=True).start()

    def _repair(self) -> None:
        while True:
            time.sleep(SEND_AGAIN)
            try:
                repair.send(self._celery)
            except _UNSENT:
                continue
            with self._lock:
                self._repairs = False
            return

    def progress(self, task_id: uuid.UUID) -> dict[str, Any] | None:
        """Return what the running task said of its progress, None when it said nothing or Redis is away."""
        try:
            state = self.state(task_id)
        except (redis.RedisError, OSError) as error:
            logger.info("The progress of task %s is unknown: %s", task_id, error)
            return None
        if state is None or state.get("status") != "PROGRESS" or not isinstance(state["result"], dict):
            return None
        return state["result"]

    def state(self, task_id: uuid.UUID) -> dict[str, Any] | None:
        """Return what the result backend holds of the task, None when nothing. Raises when Redis is away."""
        text = cast("bytes | None", self._results.get(f"celery-task-meta-{task_id}"))
        state = json.loads(text or b"null")
        return state if isinstance(state, dict) else None


def broker() -> Broker:
    """Return the application's broker."""
    return cast("Broker", flask.current_app.extensions[EXTENSION])
