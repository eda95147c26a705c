"""Redis, asked once, for a short time."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ibutsu_core import queues
from ibutsu_server.ops import reasons


def connect(url: str) -> redis.Redis:
    """Return a client that gives up soon, and tries nothing twice."""
    return redis.Redis.from_url(
        url, socket_connect_timeout=reasons.TIMEOUT, socket_timeout=reasons.TIMEOUT, retry=Retry(NoBackoff(), 0)
    )


def address(url: str) -> str:
    """Return the host and the port of a URL, without the password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def broker_problem(url: str, name: str = "CELERY_BROKER_URL") -> str | None:
    """Return a sentence for what is wrong with the Redis of that URL, which the variable `name` has, else None."""
    try:
        with connect(url) as client:
            # A Redis that is full, or a mere replica, answers a ping.
            client.set(queues.WRITTEN, 1, ex=60)
    except (redis.RedisError, OSError) as error:
        return f"Redis at {address(url)} ({name}) {reasons.of_broker(error).sentence}."
    return None
