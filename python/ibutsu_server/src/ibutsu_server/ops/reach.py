"""Whether PostgreSQL and Redis let this process in, each asked once, on a connection of its own, for a short time.

The sentences hold no secret: of what the servers say, only the reason is taken.
"""

from __future__ import annotations

import contextlib
import re
from urllib.parse import urlsplit

import psycopg2
import psycopg2.extensions
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ibutsu_core import queues
from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import schema
from ibutsu_server.store.database import state_of

TIMEOUT = 2
"""Seconds to connect, and again to wait for an answer."""

# What the drivers say, in English, and what it means.
_DATABASE_REASONS = (
    (r"password authentication failed|no password supplied|role .* (does not exist|is not permitted)|pg_hba\.conf",
     "refuses the user or the password; see POSTGRESQL_USER and POSTGRESQL_PASSWORD"),
    (r"database .* does not exist", "has no database of the name in POSTGRESQL_DATABASE"),
    (r"too many (clients|connections)|connection slots", "has no connection left; see its max_connections"),
    (r"No space left|Disk quota", "has no space left on its disk"),
    (r"starting up|shutting down|recovery", "is starting or stopping"),
    (r"could not translate host name|[Nn]ame or service not known", "cannot be found; see POSTGRESQL_HOST"),
    (r"[Cc]onnection refused|No such file or directory", "does not run there: the connection is refused"),
    (r"timeout expired|timed out", f"does not answer within {TIMEOUT} s"),
    (r"closed the connection", "closed the connection"),
)  # fmt: skip

_BROKER_REASONS = (
    (r"AuthenticationError", "refuses the password"),
    (r"LOADING|loading the dataset", "is loading its data"),
    (r"MISCONF", "cannot write to its disk"),
    (r"OutOfMemory|maxmemory", "is full; see its maxmemory, and CELERY_RESULT_EXPIRES"),
    (r"ReadOnly", "is a replica, which takes no writes"),
    (r"max number of clients", "has no connection left; see its maxclients"),
    (r"[Nn]ame or service not known|name resolution|No address associated", "cannot be found; is its name right?"),
    (r"refused", "does not run there: the connection is refused"),
    (r"[Tt]imed? ?out|Timeout", f"does not answer within {TIMEOUT} s"),
)  # fmt: skip


def database_problem(settings: DatabaseSettings) -> str | None:
    """Return a sentence for what is wrong with PostgreSQL or the schema, None when nothing is."""
    try:
        revision = read_revision(settings)
    except psycopg2.Error as error:
        if state_of(error) == schema.UNDEFINED_TABLE:
            return schema.difference(None)
        return f"PostgreSQL at {settings.host}:{settings.port} {_reason(error, _DATABASE_REASONS)}."
    return schema.difference(revision)


def read_revision(settings: DatabaseSettings) -> str | None:
    """Return the schema's revision. Raises psycopg2.Error, also where there is no schema."""
    with contextlib.closing(open_database(settings)) as connection, connection.cursor() as cursor:
        cursor.execute(schema.CURRENT)
        row = cursor.fetchone()
    return row[0] if row else None


def open_database(settings: DatabaseSettings) -> psycopg2.extensions.connection:
    """Return a connection whose statements end soon. Raises psycopg2.Error."""
    return psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        dbname=settings.database,
        connect_timeout=TIMEOUT,
        application_name="ibutsu-health",
        options=f"-c statement_timeout={TIMEOUT}s",
    )


def broker_problem(url: str, name: str = "CELERY_BROKER_URL") -> str | None:
    """Return a sentence for what is wrong with the Redis of that URL, which the variable `name` has, else None."""
    try:
        with connect(url) as client:
            # A Redis that is full, or a mere replica, answers a ping.
            client.set(queues.WRITTEN, 1, ex=60)
    except (redis.RedisError, OSError) as error:
        parts = urlsplit(url)
        where = f"{parts.hostname}:{parts.port or 6379}"
        return f"Redis at {where} ({name}) {_reason(error, _BROKER_REASONS)}."
    return None


def connect(url: str) -> redis.Redis:
    """Return a client that gives up soon, and tries nothing twice."""
    return redis.Redis.from_url(
        url, socket_connect_timeout=TIMEOUT, socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
    )


def _reason(error: Exception, reasons: tuple[tuple[str, str], ...]) -> str:
    text = f"{type(error).__name__}: {error}"
    known = next((reason for pattern, reason in reasons if re.search(pattern, text)), None)
    return known or f"does not answer ({type(error).__name__})"
