"""The workers that answer through the broker, asked all at once."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from typing import Any

import redis
from celery import Celery
from kombu import exceptions
from kombu.transport.redis import Channel

from ibutsu_server.ops import reasons, remote
from ibutsu_server.ops.doctor.facts import WorkerFacts
from ibutsu_server.ops.doctor.trouble import Trouble
from ibutsu_server.ops.redis import address, connect

PATIENCE = 2.0
"""Seconds that all have to answer; who is slower is not seen."""

_LISTENERS = Channel.keyprefix_queue % "celery.pidbox"
"""Kombu's set of those that listen for commands."""

_IMPATIENT = {"socket_connect_timeout": reasons.TIMEOUT, "socket_timeout": reasons.TIMEOUT}


def ask(url: str) -> tuple[WorkerFacts, ...] | Trouble:
    """Return the workers on the Redis of this URL, in the order of their names."""
    where = address(url)
    try:
        # Kombu is patient; so that it need not be, Redis is asked before.
        with connect(url) as client:
            # Workers that were killed are still among these: so many answer at most.
            most = int(client.scard(_LISTENERS))
        with Celery("ibutsu_doctor", set_as_current=False) as app:
            # Celery prefers the environment's CELERY_BROKER_URL to `broker_url`, but not to these.
            app.conf.update(broker_read_url=url, broker_write_url=url, broker_transport_options=_IMPATIENT)
            begun = time.time()
            told = app.control.broadcast(remote.COMMAND, reply=True, timeout=PATIENCE, limit=most or None)
    except (redis.RedisError, OSError, exceptions.KombuError) as error:
        reason = reasons.of_broker(error)
        return Trouble(reason.kind, f"The workers were not asked: Redis at {where} {reason.sentence}.")
    answers = {name: answer for each in told or () for name, answer in each.items()}
    return tuple(_facts(name, answer, begun) for name, answer in sorted(answers.items()))


def _facts(name: str, answer: Any, begun: float) -> WorkerFacts:
    if not isinstance(answer, dict) or "version" not in answer:
        return WorkerFacts(name=name)
    ahead = None
    with contextlib.suppress(KeyError, TypeError, ValueError):
        # It answered at some time between the question and now.
        theirs = dt.datetime.fromisoformat(answer["time"]).timestamp()
        ahead = theirs - min(max(theirs, begun), time.time())
    return WorkerFacts(
        name=name,
        version=str(answer["version"]),
        tasks=tuple(map(str, answer.get("tasks") or ())),
        result_backend=answer.get("result_backend"),
        database=answer.get("database"),
        ahead=ahead,
    )
