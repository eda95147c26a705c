"""The tasks whose messages wait on the queue, as Redis has them."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

from celery import Celery

from ibutsu_core import queues

PAGE = 1000
"""Messages that are read at once."""


def waiting(celery: Celery) -> set[uuid.UUID]:
    """Return the ids of the tasks that wait on the default queue, of any priority."""
    found: set[uuid.UUID] = set()
    with celery.connection_for_read() as connection:
        channel: Any = connection.default_channel
        for key in queues.keys(celery.conf.task_default_queue):
            start = 0
            while page := channel.client.lrange(key, start, start + PAGE - 1):
                start += PAGE
                for message in page:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        found.add(uuid.UUID(json.loads(message)["headers"]["id"]))
    return found
