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
import itertools
import logging
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from ibutsu_server.store import partitions_sql as sql
from ibutsu_server.store.partition_bounds import Bounds, Partition, beginning_later, made_at, months
from ibutsu_server.store.partition_content import FEW_BYTES, LOCK_LIMIT, empty, forget_copy, insist, rewrite

logger = logging.getLogger(__name__)

MONTHS_AHEAD = 3
"""Months after this one that have their partition."""

ROWS = 2000
"""Rows of `artifacts` that a transaction deletes at most."""

_LOCK = 0x1B07_9A27


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
    """That nothing was done, since so many artifacts must stay, of so many bytes: the others are to go by batches."""

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
        one = Partition(_free_name(connection, f"{sql.PARENT}_{made_at(wanted.lower):%Y_%m}"), bounds)
        attached = insist(connection, lambda: _attach(connection, one))  # noqa: B023
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
    check: Callable[[], object] = lambda: None,
) -> Dropped | ManyStay:
    """Delete the partition's artifacts but for those of which `kept` gives the ids, and the partition when it is empty.

    `kept` is a query with `parameters`; it may use `:lower` and `:upper`, the partition's range. `tell` is told after
    each step what was done so far; what `check` raises between the pieces of a copy ends the call, and the next one
    goes on.

    1. The content goes, in one transaction, in which what stays is written anew; where that has more than `few` bytes,
       it is copied before, and the copy takes the partition's place. From now on who asks for the rest finds none: an
       artifact of some size that has no content is deleted. Where less goes than stays, nothing is done.
    2. The rows of artifacts without content go, in batches.
    3. The empty partition is dropped. Until then it shows the next call that there is something left to do.
    """
    values = {**parameters, **_range(partition.bounds)}
    with connection.begin():
        stay = connection.execute(sql.staying(kept), values).one()
    done = Dropped(kept=stay.number)
    worth = stay.all_bytes - stay.bytes >= stay.bytes
    if (stay.bytes <= few or not worth) and not forget_copy(connection, partition):
        return done
    if stay.bytes <= few:
        freed = insist(connection, lambda: empty(connection, partition, kept, values))
        if freed is None:
            return done
    else:
        freed = rewrite(connection, partition, kept, values, check) if worth else None
        if freed is None:
            return ManyStay(stay.number, stay.bytes)
    done.disk = freed
    tell(done)
    left = 0
    for row in _delete_rows(connection, partition, kept, values):
        if row is None:
            return done
        done.artifacts += row.gone
        done.bytes += row.bytes
        left += row.doomed - row.gone
        tell(done)
    if left == 0:
        done.complete = insist(connection, lambda: _remove(connection, partition.name)) is not None
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


def _free_name(connection: sa.Connection, wanted: str) -> str:
    """Return the name, with a number where a table has it that somebody detached."""
    name = wanted
    with connection.begin():
        for number in itertools.count(2):
            if not connection.scalar(sql.EXISTS, {"name": name}):
                break
            name = f"{wanted}_{number}"
    if name != wanted:
        logger.warning(
            "There is a table %s that is no partition of %s any more: the content in it is missed. The new partition "
            "of its month is %s.", wanted, sql.PARENT, name,
        )  # fmt: skip
    return name


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


def _delete_rows(
    connection: sa.Connection, partition: Partition, kept: str, values: Mapping[str, Any]
) -> Iterator[sa.Row[Any] | None]:
    """Delete the rows of artifacts that have no content any more, a page a transaction; yield what each page told.

    None where others held the locks all the while.
    """
    statement = sql.delete_rows(partition.name, kept)
    after: uuid.UUID | None = uuid.UUID(int=max(0, partition.bounds.lower.int - 1))
    while after is not None:
        page = {**values, "after": after, "size": ROWS}
        row = insist(connection, lambda: connection.execute(statement, page).one())  # noqa: B023
        yield row
        after = row.last if row else None


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
