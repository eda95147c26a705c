"""What was seen of the database, of the workers and over HTTP, as data."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping

from ibutsu_server.ops.identity import Identity


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """A connection of one of our processes to PostgreSQL, which it last used so many seconds ago."""

    identity: Identity
    pid: int
    client: str
    idle: float


@dataclasses.dataclass(frozen=True, slots=True)
class Long:
    """A transaction that has been open for so many `seconds`; `idle` is for how many it has done nothing, else None."""

    pid: int
    application: str
    seconds: float
    idle: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportFacts:
    """Imports: those of the last day that failed, with the newest of them, and those that wait for a worker."""

    failed: int
    failed_id: str | None
    failed_file: str | None
    waiting: int
    oldest: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """The newest slot of an entry of the schedule; `succeeded` is when the entry last did."""

    entry: str
    slot: dt.datetime
    status: str
    error: str | None
    started: dt.datetime | None
    succeeded: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """A PostgreSQL that lets this process in. `size` is in bytes; `ahead` is its clock's, in seconds.

    `refuses` is the SQLSTATE of an attempt to write. What is in tables is None where the schema is another version's;
    `lacking` are the months without a partition for their artifacts.
    """

    address: str
    version: str
    version_number: int
    now: dt.datetime
    ahead: float
    size: int
    used: int
    connections: int
    read_only: bool
    refuses: str | None
    revision: str | None
    expected: str
    sessions: tuple[Session, ...]
    long: tuple[Long, ...]
    imports: ImportFacts | None = None
    ledger: Mapping[str, LedgerRow] | None = None
    lacking: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """A worker that answers. All but its name is None where it is of a version that does not tell."""

    name: str
    version: str | None = None
    tasks: tuple[str, ...] | None = None
    result_backend: str | None = None
    database: str | None = None
    ahead: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What an address answers: whether it lives, and whether it shows itself to who has no password."""

    url: str
    alive: bool
    status: int
    open: bool = False
