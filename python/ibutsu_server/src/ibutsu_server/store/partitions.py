"""The partitions of `artifact_chunks`: made ahead, and emptied and dropped when all in them is old.

What gives the disk back is TRUNCATE of a partition, which locks that partition alone, where nobody writes any more; its
time does not depend on the size. To add or to drop a partition, others must let go of the parent, of the default
partition or of `artifacts` for a moment. That is waited for briefly, so that nobody queues behind it, and tried again;
where it cannot be had, an empty partition stays, or a new month begins in the default partition, and the next call
does what is left.

Each function takes a connection without a transaction, and makes short ones of its own.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from ibutsu_server.store import partitions_sql as sql
from ibutsu_server.store.partition_bounds import Bounds, beginning_later, made_at, months

logger = logging.getLogger(__name__)

MONTHS_AHEAD = 3
"""Months after this one that have their partition."""

LOCK_TIMEOUT = 100
"""Milliseconds that a lock is waited for; so long others may have to wait behind it."""

LOCK_LIMIT = 200
"""Milliseconds that making or dropping a partition may take with its locks; then it is given up."""

ATTEMPTS = 8
"""How often a lock is tried, within about six seconds."""

FEW_BYTES = 16 * 1024 * 1024
"""Bytes of artifacts that are written anew while their partition is locked, at most."""

ROWS = 2000
"""Rows of `artifacts` that a transaction deletes at most."""

_LOCK = 0x1B07_9A27

# Lock not available, deadlock, cancelled by the time limit, and a row that came into the default partition meanwhile.
_STEP_BACK = ("55P03", "40P01", "57014", "23514")

Done = TypeVar("Done")


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """A partition of one range of ids."""

    name: str
    bounds: Bounds


@dataclasses.dataclass(slots=True)
class Dropped:
    """What went: `artifacts` and their `bytes`, and what the `disk` got back, in bytes.

    `kept` artifacts stay in the partition. `complete` is False where something is left for the next call.
    """

    artifacts: int = 0
    bytes: int = 0
    disk: int = 0
    kept: int = 0
    complete: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ManyStay:
    """That nothing was done, since so many artifacts must stay, of so many bytes."""

    artifacts: int
    bytes: int


def ensure(connection: sa.Connection, now: dt.datetime, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the partitions that lack of the month of `now` and of the months after it; return the names of the new.

    What fell into the default partition meanwhile moves to the new one. Where that is much, it stays, and the new
    partition begins at a coming midnight.
    """
    made = []
    for wanted in months(now, months_ahead):
        with connection.begin():
            bounds = wanted.uncovered([one.bounds for one in _existing(connection)])
            few = bounds is None or (connection.scalar(sql.IN_DEFAULT, _range(bounds)) or 0) <= FEW_BYTES
        if bounds is not None and not few:
            bounds = beginning_later(bounds, now)
        if bounds is None:
            continue
        one = Partition(f"{sql.PARENT}_{made_at(wanted.lower):%Y_%m}", bounds)
        attached = _insist(connection, lambda: _attach(connection, one))  # noqa: B023
        if attached:
            made.append(one.name)
        elif attached is None:
            logger.warning(
                "The partition %s could not be made yet: imports held artifacts all the while. Uploads of its month "
                "are kept in the default partition until a later attempt makes it.", one.name,
            )  # fmt: skip
            break
    return made


def existing(connection: sa.Connection) -> list[Partition]:
    """Return the partitions, but for the default one, in the order of their ids."""
    with connection.begin():
        return _existing(connection)


def expired(connection: sa.Connection, cutoff: dt.datetime) -> list[Partition]:
    """Return the partitions of which every artifact was uploaded before the cut-off, the oldest first.

    Among them are those that keep something, and those whose drop was interrupted.
    """
    return [one for one in existing(connection) if one.bounds.expired(cutoff)]


def drop(
    connection: sa.Connection,
    partition: Partition,
    *,
    kept: str,
    parameters: Mapping[str, Any],
    few: int = FEW_BYTES,
    tell: Callable[[Dropped], object] = lambda _dropped: None,
) -> Dropped | ManyStay:
    """Delete the partition's artifacts but for those of which `kept` gives the ids, and the partition when it is empty.

    `kept` is a query with `parameters`; it may use `:lower` and `:upper`, the partition's range. Where they have more
    than `few` bytes, nothing is done. `tell` is told after each step what was done so far.

    1. The content goes, in one transaction, in which what stays is written anew. From now on who asks for the rest
       finds none: an artifact of some size that has no content is deleted.
    2. The rows of artifacts without content go, in batches.
    3. The empty partition is dropped. Until then it shows the next call that there is something left to do.
    """
    values = {**parameters, **_range(partition.bounds)}
    with connection.begin():
        stay = connection.execute(sql.staying(kept), values).one()
    if stay.bytes > few:
        return ManyStay(stay.number, stay.bytes)
    done = Dropped(kept=stay.number)
    freed = _insist(connection, lambda: _empty(connection, partition.name, kept, values))
    if freed is None:
        return done
    done.disk = freed
    tell(done)
    left = 0
    for row in _delete_rows(connection, partition, kept, values):
        done.artifacts += row.gone
        done.bytes += row.bytes
        left += row.doomed - row.gone
        tell(done)
    if left == 0:
        done.complete = _insist(connection, lambda: _remove(connection, partition.name)) is not None
    return done


def _range(bounds: Bounds) -> dict[str, uuid.UUID]:
    return {"lower": bounds.lower, "upper": bounds.upper}


def _existing(connection: sa.Connection) -> list[Partition]:
    found = []
    for name, bounds in connection.execute(sql.PARTITIONS):
        ends = re.fullmatch(r"FOR VALUES FROM \((MINVALUE|'.*')\) TO \('(.*)'\)", bounds)
        if ends:
            lower = uuid.UUID(int=0) if ends[1] == "MINVALUE" else uuid.UUID(ends[1].strip("'"))
            found.append(Partition(name, Bounds(lower, uuid.UUID(ends[2]))))
    return sorted(found, key=lambda one: one.bounds)


def _attach(connection: sa.Connection, partition: Partition) -> bool:
    """Make the partition with what is of its range in the default one; False where somebody else makes it."""
    if not connection.scalar(sql.ALONE, {"key": _LOCK}):
        return False
    if partition.bounds.uncovered([one.bounds for one in _existing(connection)]) != partition.bounds:
        return False
    connection.execute(sql.create(partition.name))
    connection.execute(sql.move(partition.name), _range(partition.bounds))
    connection.execute(sql.LIMIT, {"limit": str(LOCK_LIMIT)})
    connection.execute(sql.attach(partition.name, partition.bounds))
    return True


def _empty(connection: sa.Connection, name: str, kept: str, values: Mapping[str, Any]) -> int:
    """Delete the content of what does not stay; return how many bytes the disk got back."""
    connection.execute(sql.hold(kept), values)
    if not connection.scalar(sql.has_others(name)):
        return 0
    connection.execute(sql.SET_ASIDE_TABLE)
    connection.execute(sql.set_aside(name))
    before = connection.scalar(sql.DISK, {"name": name}) or 0
    connection.execute(sql.truncate(name))
    connection.execute(sql.put_back(name))
    return int(before) - int(connection.scalar(sql.DISK, {"name": name}) or 0)


def _delete_rows(
    connection: sa.Connection, partition: Partition, kept: str, values: Mapping[str, Any]
) -> Iterator[sa.Row[Any]]:
    """Delete the rows of artifacts that have no content any more, a page a transaction; yield what each page told."""
    statement = sql.delete_rows(partition.name, kept)
    after: uuid.UUID | None = uuid.UUID(int=max(0, partition.bounds.lower.int - 1))
    while after is not None:
        page = {**values, "after": after, "size": ROWS}
        row = _insist(connection, lambda: connection.execute(statement, page).one())  # noqa: B023
        if row is None:
            return
        after = row.last
        yield row


def _remove(connection: sa.Connection, name: str) -> bool:
    """Drop the partition, if it is empty; tell whether it was."""
    if connection.scalar(sql.has_any(name)):
        return False
    connection.execute(sql.LIMIT, {"limit": str(LOCK_LIMIT)})
    connection.execute(sql.LOCK_PARENT)
    # What belongs here may have come before the lock.
    empty = not connection.scalar(sql.has_any(name))
    if empty:
        connection.execute(sql.drop(name))
    return empty


def _insist(connection: sa.Connection, work: Callable[[], Done]) -> Done | None:
    """Do the work in a transaction that waits for no lock for long, several times if need be; None for never."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2**attempt * 0.025 * (0.5 + random.random()))  # noqa: S311 - no secret
        try:
            with connection.begin():
                connection.execute(sql.PATIENCE, {"wait": str(LOCK_TIMEOUT)})
                return work()
        except exc.DBAPIError as error:
            if error.connection_invalidated or getattr(error.orig, "pgcode", None) not in _STEP_BACK:
                raise
    return None
