"""A running task's progress, as the state of its result in Redis: a courtesy that never holds the task up."""

from __future__ import annotations

import json
import time
from typing import Any, Self

import redis
from celery import Task
from celery.utils.log import get_task_logger
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = get_task_logger(__name__)

INTERVAL = 0.5
"""Seconds between two tellings."""

TIMEOUT = 1.0
"""Seconds that one may take."""

PAUSE = 30.0
"""Seconds without any, once Redis did not answer: a task holds locks, and each telling would wait."""


class Progress:
    """Tells how far a task is, to be used in a `with` statement.

    Not by Celery's own means, which try again for as long as Redis is away, as is right for a result.
    """

    def __init__(self, task: Task[Any, Any]) -> None:
        conf = task.app.conf
        self._key = f"celery-task-meta-{task.request.id}"
        self._expires = conf.result_expires
        self._next = 0.0
        self._redis = redis.Redis.from_url(
            conf.result_backend,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.close()

    def is_due(self) -> bool:
        """Tell whether it is time for another telling."""
        return time.monotonic() >= self._next

    def tell(self, **values: int) -> None:
        """Make the values those of the task's state PROGRESS."""
        self._next = time.monotonic() + INTERVAL
        state: dict[str, Any] = {"status": "PROGRESS", "result": values, "traceback": None, "children": []}
        try:
            self._redis.set(self._key, json.dumps(state), ex=self._expires)
        except (redis.RedisError, OSError) as error:
            self._next = time.monotonic() + PAUSE
            logger.warning("%s: its progress cannot be told: %s", self._key, error)
