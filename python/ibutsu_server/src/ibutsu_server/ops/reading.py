"""What the scheduler reads for its metrics: of Redis and PostgreSQL there is one each, and of schedulers too."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ibutsu_core import queues, schedule
from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.ops import reach
from ibutsu_server.ops.health import Check
from ibutsu_server.ops.metrics import gauge
from ibutsu_server.store import schema

_PERIODIC = "ibutsu_periodic"

_LAST_SUCCESSES = "SELECT entry, max(finished) FROM maintenance WHERE status = 'done' AND entry IS NOT NULL GROUP BY 1"


class Broker(Collector):
    """The queue, and what Redis needs for it."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = queue
        self._read: list[Metric] = []
        self._check = Check("Redis", self._ask)

    def collect(self) -> Iterable[Metric]:
        """Return what was read in the last seconds; only that Redis is away, when it is."""
        if self._check.problem():
            return [gauge("ibutsu_broker_up", 0)]
        return [gauge("ibutsu_broker_up", 1), *self._read]

    def _ask(self) -> None:
        keys = queues.keys(self._queue)
        with reach.connect(self._url) as client, client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.llen(key)
            for key in keys:
                pipe.lindex(key, -1)
            pipe.hlen(queues.UNACKNOWLEDGED)
            pipe.info("memory")
            pipe.dbsize()
            found: list[Any] = pipe.execute()
        length, oldest = gauge("ibutsu_queue_length"), gauge("ibutsu_queue_oldest_age_seconds")
        length.add_metric([self._queue], sum(found[: len(keys)]))
        sent = [queues.queued_at(message) for message in found[len(keys) : 2 * len(keys)] if message]
        first = min(filter(None, sent), default=None)
        age = max(0.0, (dt.datetime.now(dt.UTC) - first).total_seconds()) if first else 0.0
        oldest.add_metric([self._queue], age)
        unacknowledged, memory, size = found[2 * len(keys) :]
        self._read = [
            length,
            oldest,
            gauge("ibutsu_queue_unacknowledged", unacknowledged),
            gauge("ibutsu_broker_memory_bytes", memory["used_memory"]),
            gauge("ibutsu_broker_keys", size),
        ]


class Database(Collector):
    """The schema, the imports that have not ended, and the last successes of periodic tasks."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._read: list[Metric] = []
        self._check = Check("PostgreSQL", self._ask)

    def collect(self) -> Iterable[Metric]:
        """Return what was read in the last seconds; only that PostgreSQL is away, when it is."""
        expected = gauge("ibutsu_schema_expected_version", int(schema.expected()))
        if self._check.problem():
            return [gauge("ibutsu_database_up", 0), expected]
        return [gauge("ibutsu_database_up", 1), expected, *self._read]

    def _ask(self) -> None:
        with contextlib.closing(reach.open_database(self._settings)) as connection, connection.cursor() as cursor:
            cursor.execute(schema.CURRENT)
            revision = cursor.fetchone()
            cursor.execute("SELECT status, count(*) FROM imports WHERE status IN ('pending', 'running') GROUP BY 1")
            unfinished = {"pending": 0, "running": 0, **dict(cursor.fetchall())}
            cursor.execute(_LAST_SUCCESSES)
            done = dict(cursor.fetchall())
        imports = gauge("ibutsu_imports_unfinished")
        for status, count in unfinished.items():
            imports.add_metric([status], count)
        success, interval = gauge(f"{_PERIODIC}_last_success_timestamp_seconds"), gauge(f"{_PERIODIC}_interval_seconds")
        for entry in schedule.beat_entries():
            if entry.name in done:
                success.add_metric([entry.name], done[entry.name].timestamp())
            following = schedule.next_due(entry.schedule, dt.datetime.now(dt.UTC))
            seconds = (schedule.next_due(entry.schedule, following) - following).total_seconds()
            interval.add_metric([entry.name], seconds)
        version = int(revision[0]) if revision else 0
        self._read = [gauge("ibutsu_schema_version", version), imports, success, interval]
