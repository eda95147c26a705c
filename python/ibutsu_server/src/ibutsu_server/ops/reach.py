"""Whether PostgreSQL and Redis let this process in, each asked once, on a connection of its own, for a short time.

The sentences hold no secret: of what the servers say, only the reason is taken.
"""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.extensions

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.ops import reasons
from ibutsu_server.ops.redis import broker_problem, connect
from ibutsu_server.store import schema
from ibutsu_server.store.database import state_of

__all__ = ["broker_problem", "connect", "database_problem", "open_database", "read_revision"]


def database_problem(settings: DatabaseSettings) -> str | None:
    """Return a sentence for what is wrong with PostgreSQL or the schema, None when nothing is."""
    try:
        revision = read_revision(settings)
    except psycopg2.Error as error:
        if state_of(error) == schema.UNDEFINED_TABLE:
            return schema.difference(None)
        return f"PostgreSQL at {settings.host}:{settings.port} {reasons.of_database(error).sentence}."
    return schema.difference(revision)


def read_revision(settings: DatabaseSettings) -> str | None:
    """Return the schema's revision. Raises psycopg2.Error, also where there is no schema."""
    with contextlib.closing(open_database(settings)) as connection, connection.cursor() as cursor:
        cursor.execute(schema.CURRENT)
        row = cursor.fetchone()
    return row[0] if row else None


def open_database(settings: DatabaseSettings, *, application: str = "ibutsu-health") -> psycopg2.extensions.connection:
    """Return a connection whose statements end soon. Raises psycopg2.Error."""
    return psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        dbname=settings.database,
        connect_timeout=reasons.TIMEOUT,
        application_name=application,
        options=f"-c statement_timeout={reasons.TIMEOUT}s",
    )
