"""The repair of what was lost with a worker or with Redis, and how it is seen that Redis has lost all."""

from __future__ import annotations

import time

import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

TASK = "ibutsu_server.tasks.runs.sync_aborted_runs"
"""What sends again the imports whose message is nowhere."""

DELAY = 45
"""Seconds from what made it necessary to the repair: more than `store.uploads.LOST_AFTER`."""

MARK = "ibutsu-mark"
"""The key that is there for as long as Redis has what it was given."""

LOOK_EVERY = 15.0
"""Seconds between two looks at it."""

TIMEOUT = 2
"""Seconds to connect, and again to wait for an answer."""


def send(celery: Celery) -> None:
    """Send the repair. Raises kombu's OperationalError."""
    celery.send_task(TASK, countdown=DELAY, ignore_result=True)


class Mark:
    """A key in Redis that goes with all others: a Redis that was wiped tells nobody, and no connection is lost."""

    EXTENSION = "ibutsu_mark"
    """Where the scheduler's Flask application keeps it, in its `extensions`."""

    def __init__(self, url: str) -> None:
        retry = Retry(NoBackoff(), 0)
        self._redis = redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=retry)
        self._next = 0.0

    def is_gone(self) -> bool:
        """Tell whether it is time for a look and the key is gone. A Redis that is away says nothing of it."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOOK_EVERY
        try:
            return not self._redis.exists(MARK)
        except (redis.RedisError, OSError):
            return False

    def make(self) -> None:
        """Put the key there. Raises redis.RedisError."""
        self._redis.set(MARK, 1)
