"""What a Redis says of itself, and of the queue in it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import time
import uuid
from typing import Any

import redis

from ibutsu_core import queues
from ibutsu_core.celery_utils import QUEUE
from ibutsu_server.ops import reasons
from ibutsu_server.ops.doctor.trouble import Trouble
from ibutsu_server.ops.redis import address, connect

RESULTS = "celery-task-meta-*"
"""The keys of tasks' results."""

SAMPLE = 2000
"""Results whose expiry is looked at, at most."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """A Redis that takes writes. Sizes are in bytes; `limit` is None without one; `ahead` is its clock's, in seconds.

    Of `sampled` results `lasting` never expire. `oldest` is when the message that waits for the longest was sent.
    """

    address: str
    version: str
    memory: int
    limit: int | None
    policy: str
    append_only: bool
    disk_works: bool
    keys: int
    evicted: int
    sampled: int
    lasting: int
    waiting: int
    oldest: dt.datetime | None
    unacknowledged: int
    ahead: float


def ask(url: str, name: str) -> BrokerFacts | Trouble:
    """Ask the Redis of this URL, which the variable `name` has."""
    where = address(url)
    try:
        with connect(url) as client:
            client.ping()
            # A replica, a full memory and a full disk let reading pass.
            client.set(f"ibutsu-doctor:{uuid.uuid4()}", "", px=1000)
            return _facts(client, where)
    except (redis.RedisError, OSError) as error:
        reason = reasons.of_broker(error)
        return Trouble(reason.kind, f"Redis at {where} ({name}) {reason.sentence}.")


def _facts(client: redis.Redis, where: str) -> BrokerFacts:
    begun = time.time()
    seconds, micros = client.time()
    # Half of the way passed before Redis looked at its clock.
    ahead = seconds + micros / 1e6 - (begun + time.time()) / 2
    keys = queues.keys(QUEUE)
    with client.pipeline(transaction=False) as pipe:
        pipe.info("everything")
        pipe.dbsize()
        for key in keys:
            pipe.llen(key)
        for key in keys:
            pipe.lindex(key, -1)
        pipe.hlen(queues.UNACKNOWLEDGED)
        info, size, *rest, unacknowledged = pipe.execute()
    sent = [queues.queued_at(message) for message in rest[len(keys) :] if message]
    lasting, sampled = _lasting(client)
    return BrokerFacts(
        address=where,
        version=str(info.get("valkey_version") or info.get("redis_version")),
        memory=info["used_memory"],
        limit=info.get("maxmemory") or None,
        policy=str(info.get("maxmemory_policy")),
        append_only=bool(info.get("aof_enabled")),
        disk_works=info.get("aof_last_write_status") == "ok" and info.get("rdb_last_bgsave_status") == "ok",
        keys=size,
        evicted=info.get("evicted_keys", 0),
        sampled=sampled,
        lasting=lasting,
        waiting=sum(rest[: len(keys)]),
        oldest=min(filter(None, sent), default=None),
        unacknowledged=unacknowledged,
        ahead=ahead,
    )


def _lasting(client: redis.Redis) -> tuple[int, int]:
    """Return how many results of a sample never expire, and how many it has."""
    names: list[Any] = list(itertools.islice(client.scan_iter(match=RESULTS, count=1000), SAMPLE))
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.ttl(name)
        return sum(1 for seconds in pipe.execute() if seconds == -1), len(names)
