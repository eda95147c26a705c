"""What to think of PostgreSQL, of the schema and of what is in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from ibutsu_server.ops.doctor.facts import DatabaseFacts, ImportFacts, Long
from ibutsu_server.ops.doctor.finding import Finding, failure, ok, warning
from ibutsu_server.ops.doctor.mends import Advice, Mends
from ibutsu_server.ops.doctor.trouble import Trouble
from ibutsu_server.ops.doctor.words import mebibytes, span

CHECKS_OF_TABLES = ("maintenance", "failed-imports", "waiting-imports", "artifact-partitions")
CHECKS = ("database-version", "database-connections", "database-transactions", "schema", "scheduler", *CHECKS_OF_TABLES)
"""What is looked at in the database, and what only where the schema is of this version."""

OLDEST_VERSION = 150000
"""PostgreSQL's `server_version_num` of the oldest version that is tried."""

FULL = 0.9
"""Part of the connections from which on it is a warning."""

LONG_TRANSACTION, IDLE_TRANSACTION = 60 * 60, 5 * 60
"""Seconds from which on an open transaction is a warning, at work and doing nothing."""

LONG_WAIT, LONGER_WAIT = 10 * 60, 60 * 60
"""Seconds that an import waits for a worker, from which on it is a warning and a failure."""

_DISK_FULL = "53100"

# By the kind of trouble: the likely cause, and the mend.
TROUBLES = {
    "credentials": ("The user or the password is not PostgreSQL's, or pg_hba.conf keeps this machine out.",
                    Mends.POSTGRESQL_PASSWORD),
    "database": ("POSTGRESQL_DATABASE is mistyped, or the database was never made.", Mends.CREATE_DATABASE),
    "connections": ("Too many processes are connected, or max_connections is too low for them.", Mends.CONNECTIONS),
    "permission": ("POSTGRESQL_USER is not the one who made the tables.", Mends.POSTGRESQL_PASSWORD),
    "disk": ("The disk of PostgreSQL is full.", Mends.POSTGRESQL_DISK),
    "starting": ("PostgreSQL was restarted and recovers; that ends by itself.", Mends.START_POSTGRESQL),
    "name": ("POSTGRESQL_HOST is mistyped, or the name server does not know it.", Mends.POSTGRESQL_NAME),
    "refused": ("PostgreSQL does not run, or POSTGRESQL_HOST or POSTGRESQL_PORT names another place.",
                Mends.START_POSTGRESQL),
    "network": ("The network, or a policy of it, keeps this machine from PostgreSQL.", Mends.POSTGRESQL_NAME),
    "closed": ("PostgreSQL ends or has crashed, or something between ends connections.", Mends.START_POSTGRESQL),
    "timeout": ("PostgreSQL hangs or is paused, or a firewall drops what is sent to it.", Mends.START_POSTGRESQL),
}  # fmt: skip


def reached(found: DatabaseFacts | Trouble, advice: Advice) -> Iterator[Finding]:
    """Return whether PostgreSQL can be used, and what is in it."""
    if isinstance(found, Trouble):
        cause, mend = TROUBLES.get(found.kind, TROUBLES["timeout"])
        yield failure("database", found.sentence, cause, advice.command(mend))
        return
    yield _writes(found, advice)
    yield _version(found, advice)
    yield _connections(found, advice)
    yield _transactions(found.long, advice)
    yield schema(found, advice)


def _writes(facts: DatabaseFacts, advice: Advice) -> Finding:
    check, where = "database", f"PostgreSQL at {facts.address}"
    if facts.read_only:
        cause = "POSTGRESQL_HOST names a standby, or default_transaction_read_only is on."
        return failure(check, f"{where} takes no writes.", cause, advice.command(Mends.POSTGRESQL_PRIMARY))
    if facts.refuses == _DISK_FULL:
        return failure(check, f"{where} has no space left on its disk.", "Its disk is full.",
                       advice.command(Mends.POSTGRESQL_DISK))  # fmt: skip
    if facts.refuses is not None:
        return failure(check, f"{where} refuses to write (SQLSTATE {facts.refuses}).", "Its log says why.",
                       advice.command(Mends.POSTGRESQL_DISK))  # fmt: skip
    return ok(check, f"{where} lets this process in, and takes writes; the database has {mebibytes(facts.size)}.")


def _version(facts: DatabaseFacts, advice: Advice) -> Finding:
    told = f"PostgreSQL is version {facts.version}."
    if facts.version_number < OLDEST_VERSION:
        oldest = OLDEST_VERSION // 10000
        cause = f"Ibutsu is tried with {oldest} and newer."
        return warning("database-version", told, cause, advice.command(Mends.START_POSTGRESQL))
    return ok("database-version", told)


def _connections(facts: DatabaseFacts, advice: Advice) -> Finding:
    told = f"{facts.used} of {facts.connections} connections are in use."
    if facts.used >= FULL * facts.connections:
        cause = "Many workers, or processes that keep connections; further ones are turned away."
        return warning("database-connections", told, cause, advice.command(Mends.CONNECTIONS))
    return ok("database-connections", told)


def _transactions(long: tuple[Long, ...], advice: Advice) -> Finding:
    check = "database-transactions"
    for one in long:
        who = f"{one.application or 'A client'} (process {one.pid} of PostgreSQL)"
        end = advice.command(Mends.END_SESSION, pid=one.pid)
        if one.idle is not None and one.idle >= IDLE_TRANSACTION:
            told = f"{who} has a transaction open, and has done nothing in it for {span(one.idle)}."
            return warning(check, told, "It hangs, or somebody forgot to commit; what it locks, others wait for.", end)
        if one.idle is None and one.seconds >= LONG_TRANSACTION:
            told = f"{who} has a transaction open for {span(one.seconds)}."
            return warning(check, told, "A very large import, or a query without end.", end)
    return ok(check, "No transaction has been open for long.")


def schema(facts: DatabaseFacts, advice: Advice) -> Finding:
    """Return whether the schema is what this version expects; revisions are numbers, in their order."""
    check = "schema"
    if facts.revision is None:
        return failure(check, "The database has no schema.", "It is new, or POSTGRESQL_DATABASE names another.",
                       advice.command(Mends.UPGRADE_SCHEMA))  # fmt: skip
    told = f"The schema is at {facts.revision}"
    if facts.revision < facts.expected:
        return failure(check, f"{told}; this version needs {facts.expected}.",
                       "The new version was started before its migration.",
                       advice.command(Mends.UPGRADE_SCHEMA))  # fmt: skip
    if facts.revision > facts.expected:
        return warning(check, f"{told}; this version knows {facts.expected}.",
                       "A newer version has migrated it: an upgrade is under way, or this process was left out of it.",
                       advice.command(Mends.UPGRADE_IBUTSU))  # fmt: skip
    return ok(check, f"{told}, as this version expects.")


def partitions(lacking: tuple[str, ...], advice: Advice) -> Finding:
    """Return whether artifacts of this month and the next have their partition."""
    check = "artifact-partitions"
    if lacking:
        told = f"There is no partition for artifacts of {' and '.join(lacking)}."
        cause = "sync-aborted-runs makes them, and has not run, or imports held the table all the while."
        return warning(check, told, cause, advice.command(Mends.UPGRADE_SCHEMA))
    return ok(check, "This month and the next have their partition for artifacts.")


def imports(facts: ImportFacts, now: dt.datetime, *, workers: int | None, advice: Advice) -> Iterator[Finding]:
    """Return whether imports failed, and whether they wait for too long."""
    if facts.failed:
        # Of the name only what cannot change the terminal.
        name = "".join(letter if letter.isprintable() else "?" for letter in facts.failed_file or "")[:80]
        yield warning(
            "failed-imports",
            f"{facts.failed} imports failed within a day, the last of them {facts.failed_id} ({name}).",
            "The reports are broken, or something here was; each says why.",
            advice.command(Mends.SHOW_IMPORTS),
        )
    else:
        yield ok("failed-imports", "No import failed within a day.")
    seconds = (now - facts.oldest).total_seconds() if facts.oldest else 0.0
    told = f"{facts.waiting} imports wait for a worker" + (
        f", the oldest for {span(seconds)}." if facts.oldest else "."
    )
    if seconds < LONG_WAIT:
        yield ok("waiting-imports", told)
        return
    cause = "No worker takes tasks." if workers == 0 else "Workers cannot keep up, or use another broker than the API."
    mend = Mends.START_WORKER if workers == 0 else Mends.MORE_WORKERS
    command = advice.command(mend, number=2 * (workers or 1))
    yield (failure if seconds >= LONGER_WAIT else warning)("waiting-imports", told, cause, command)
