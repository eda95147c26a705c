"""What to think of a Redis."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from urllib.parse import urlsplit

from ibutsu_server.ops.doctor.broker import BrokerFacts
from ibutsu_server.ops.doctor.finding import Finding, failure, ok, skipped, warning
from ibutsu_server.ops.doctor.mends import Advice, Mends
from ibutsu_server.ops.doctor.trouble import Trouble
from ibutsu_server.ops.doctor.words import mebibytes, span

CHECKS = ("redis-memory", "redis-eviction", "redis-persistence")
"""What `kept` looks at."""

FULL, NEARLY_FULL = 0.9, 0.75
"""Parts of the memory's limit, from which on it is a failure and a warning."""

LONG_WAIT, LONGER_WAIT = 10 * 60, 60 * 60
"""Seconds that a task waits for a worker, from which on it is a warning and a failure."""

# By the kind of trouble: the likely cause, and the mend.
TROUBLES = {
    "credentials": ("The password in {name} is not that of Redis, or a character of it is not percent-encoded.",
                    Mends.REDIS_PASSWORD),
    "loading": ("Redis was restarted and reads its append-only file; that ends by itself.", Mends.INFO_REDIS),
    "disk": ("The disk of Redis is full, or broken.", Mends.REDIS_DISK),
    "read-only": ("{name} names a replica, not the primary.", Mends.INFO_REDIS),
    "memory": ("Results are kept for too long, or the limit is too low.", Mends.EXPIRE_SOONER),
    "connections": ("Too many processes are connected.", Mends.INFO_REDIS),
    "permission": ("The user in {name} lacks rights (Redis ACL).", Mends.REDIS_PASSWORD),
    "name": ("The host in {name} is mistyped, or the name server does not know it.", Mends.REDIS_NAME),
    "refused": ("Redis does not run, or {name} names another port.", Mends.START_REDIS),
    "network": ("The network, or a policy of it, keeps this machine from Redis.", Mends.REDIS_NAME),
    "timeout": ("Redis hangs or is paused, or a firewall drops what is sent to it.", Mends.START_REDIS),
}  # fmt: skip

_INFO = {"connections": "clients", "read-only": "replication", "loading": "persistence"}


def advice_for(url: str | None, *, kubernetes: bool) -> Advice:
    """Return the advice for the Redis of that URL."""
    parts = urlsplit(url or "")
    return Advice(kubernetes, parts.hostname or "HOST", parts.port or 6379)


def reached(check: str, name: str, found: BrokerFacts | Trouble | None, advice: Advice) -> Finding:
    """Return whether the Redis that the variable `name` names can be used."""
    if found is None:
        return skipped(check, f"Redis was not looked for: {name} is not right.")
    if isinstance(found, Trouble):
        cause, mend = TROUBLES.get(found.kind, TROUBLES["timeout"])
        command = advice.command(mend, variable=name, name=_INFO.get(found.kind, "server"))
        return failure(check, found.sentence, cause.format(name=name), command)
    return ok(check, f"Redis {found.version} at {found.address} lets this process in, and takes writes.")


def same(found: BrokerFacts | Trouble | None) -> Finding:
    """Return what is to be said of a result backend that is the broker."""
    check, told = "result-backend", "CELERY_RESULT_BACKEND is the same Redis as CELERY_BROKER_URL"
    if isinstance(found, BrokerFacts):
        return ok(check, f"{told}.")
    return skipped(check, f"{told}: see `broker`.")


def kept(facts: BrokerFacts, advice: Advice) -> Iterator[Finding]:
    """Return how it keeps what it has."""
    yield _memory(facts, advice)
    if facts.policy == "noeviction":
        yield ok("redis-eviction", "Redis throws nothing away (noeviction).")
    else:
        lost = f" It has thrown away {facts.evicted} keys already." if facts.evicted else ""
        yield failure(
            "redis-eviction",
            f"The eviction policy of Redis is {facts.policy}, not noeviction.{lost}",
            "A Redis that is a cache throws away messages when its memory is full.",
            advice.command(Mends.SET_REDIS, name="maxmemory-policy", value="noeviction"),
        )
    if not facts.append_only:
        yield warning(
            "redis-persistence",
            "Redis does not write an append-only file.",
            "Messages are gone when it is restarted; imports are sent again by the repair, half an hour later.",
            advice.command(Mends.SET_REDIS, name="appendonly", value="yes"),
        )
    elif not facts.disk_works:
        yield failure(
            "redis-persistence",
            "Redis could not write to its disk the last time.",
            "The disk is full, or broken.",
            advice.command(Mends.REDIS_DISK),
        )
    else:
        yield ok("redis-persistence", "Redis writes an append-only file.")


def _memory(facts: BrokerFacts, advice: Advice) -> Finding:
    check = "redis-memory"
    used = f"Redis uses {mebibytes(facts.memory)}"
    if facts.limit is None:
        return ok(check, f"{used}, without a limit, for {facts.keys} keys.")
    used = f"{used} of {mebibytes(facts.limit)} ({facts.memory / facts.limit:.0%}) for {facts.keys} keys."
    if facts.memory < NEARLY_FULL * facts.limit:
        return ok(check, used)
    cause = "Results of tasks are kept for too long, or workers cannot keep up; when it is full, uploads wait."
    return (failure if facts.memory >= FULL * facts.limit else warning)(
        check, used, cause, advice.command(Mends.EXPIRE_SOONER)
    )


def results(facts: BrokerFacts, advice: Advice) -> Finding:
    """Return whether results of tasks leave Redis by themselves."""
    check = "result-expiry"
    if facts.lasting:
        return warning(
            check,
            f"{facts.lasting} of {facts.sampled} results of tasks never expire.",
            "Something with other settings wrote them, and so Redis fills up.",
            advice.command(Mends.INFO_REDIS, name="keyspace"),
        )
    return ok(check, f"All of {facts.sampled} results of tasks expire.")


def queue(facts: BrokerFacts, now: dt.datetime, *, workers: int | None, advice: Advice) -> Finding:
    """Return whether tasks wait for too long; `workers` is how many answered, None where that is not known."""
    check = "queue"
    told = f"{facts.waiting} tasks wait on the queue, {facts.unacknowledged} are in workers' hands"
    if facts.oldest is None:
        return ok(check, f"{told}.")
    seconds = max(0.0, (now - facts.oldest).total_seconds())
    told = f"{told}; the oldest has waited for {span(seconds)}."
    if seconds < LONG_WAIT:
        return ok(check, told)
    cause = "No worker takes tasks." if workers == 0 else "The workers cannot keep up, or are stuck in long tasks."
    mend = Mends.START_WORKER if workers == 0 else Mends.MORE_WORKERS
    command = advice.command(mend, number=2 * (workers or 1))
    return (failure if seconds >= LONGER_WAIT else warning)(check, told, cause, command)
