"""What PostgreSQL says of itself, of the schema and the processes, and of what is in the tables."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import StaticPool

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.ops import reach, reasons
from ibutsu_server.ops.doctor import database_sql as sql
from ibutsu_server.ops.doctor.facts import DatabaseFacts, ImportFacts, LedgerRow, Long, Session
from ibutsu_server.ops.doctor.trouble import Trouble
from ibutsu_server.ops.identity import Identity
from ibutsu_server.store import partition_bounds, partitions, schema
from ibutsu_server.store.database import state_of

NAME = "ibutsu-doctor"


def ask(settings: DatabaseSettings, entries: Iterable[str]) -> DatabaseFacts | Trouble:
    """Ask PostgreSQL; `entries` are the names of the schedule."""
    where = f"PostgreSQL at {settings.host}:{settings.port}"
    try:
        # The pool's one connection is made here, within a time that is known.
        driver = reach.open_database(settings, application=NAME)
    except psycopg2.Error as error:
        reason = reasons.of_database(error)
        return Trouble(reason.kind, f"{where} {reason.sentence}.")
    engine = sa.create_engine("postgresql+psycopg2://", creator=lambda: driver, poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            return _facts(connection, f"{settings.host}:{settings.port}", list(entries))
    except exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        reason = reasons.of_database(cause)
        return Trouble(reason.kind, f"{where} {reason.sentence}.")
    finally:
        engine.dispose()


def _facts(connection: sa.Connection, where: str, entries: list[str]) -> DatabaseFacts:
    with connection.begin():
        begun = time.time()
        row = connection.execute(sql.SERVER).one()
        ahead = row.seconds - (begun + time.time()) / 2
        sessions = [_session(found) for found in connection.execute(sql.SESSIONS)]
        long = tuple(Long(**found) for found in connection.execute(sql.LONG).mappings())
    revision = _revision(connection)
    tables: Mapping[str, Any] = {}
    # What another version's tables hold, this one need not be able to read.
    if revision == schema.expected():
        tables = _tables(connection, entries)
    return DatabaseFacts(
        address=where,
        version=row.version,
        version_number=row.version_number,
        now=row.now,
        ahead=ahead,
        size=row.size,
        used=row.used,
        connections=row.connections,
        read_only=row.read_only,
        refuses=None if row.read_only else _refusal(connection),
        revision=revision,
        expected=schema.expected(),
        sessions=tuple(session for session in sessions if session is not None),
        long=long,
        **tables,
    )


def _session(row: sa.Row[Any]) -> Session | None:
    identity = Identity.of(row.application_name or "")
    return Session(identity, row.pid, row.client or "this machine", row.idle) if identity else None


def _revision(connection: sa.Connection) -> str | None:
    try:
        with connection.begin():
            revision: str | None = connection.scalar(sa.text(schema.CURRENT))
            return revision
    except exc.ProgrammingError as error:
        if state_of(error) == schema.UNDEFINED_TABLE:
            return None
        raise


def _refusal(connection: sa.Connection) -> str | None:
    """Return the SQLSTATE with which PostgreSQL refuses to write, None where it writes."""
    try:
        with connection.begin() as transaction:
            # The first row of a table takes a page of the disk.
            connection.execute(sql.WRITE)
            transaction.rollback()
    except exc.DBAPIError as error:
        return None if state_of(error) == sql.INSUFFICIENT_PRIVILEGE else state_of(error) or "unknown"
    return None


def _tables(connection: sa.Connection, entries: list[str]) -> dict[str, Any]:
    with connection.begin():
        imports = ImportFacts(**connection.execute(sql.IMPORTS).mappings().one())
        ledger = {
            row["entry"]: LedgerRow(**row) for row in connection.execute(sql.LEDGER, {"names": entries}).mappings()
        }
        now: dt.datetime = connection.scalar(sa.text("SELECT now()"))
    present = [one.bounds for one in partitions.existing(connection)]
    lacking = tuple(
        f"{partition_bounds.made_at(wanted.lower):%Y-%m}"
        for wanted in partition_bounds.months(now, 1)
        if wanted.uncovered(present) is not None
    )
    return {"imports": imports, "ledger": ledger, "lacking": lacking}
