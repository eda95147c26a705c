"""What happens to the content of a partition of which something stays, and the patience with others' locks."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from ibutsu_server.store import partitions_sql as sql
from ibutsu_server.store.partition_bounds import Partition

LOCK_TIMEOUT = 100
"""Milliseconds that a lock is waited for; so long others may have to wait behind it."""

LOCK_LIMIT = 200
"""Milliseconds that making or dropping a partition may take with its locks; then it is given up."""

ATTEMPTS = 8
"""How often a lock is tried, within about six seconds."""

FEW_BYTES = 4 * 1024 * 1024
"""Bytes of artifacts that are written anew while their partition is locked, at most; it takes some 0.1 seconds."""

COPIED = 50
COPIED_BYTES = 32 * 1024 * 1024
"""Artifacts that a transaction copies at most, and their bytes, unless it is one alone."""

# Lock not available, deadlock, cancelled by the time limit; a row that came into the default partition meanwhile, and
# an artifact that went.
_STEP_BACK = ("55P03", "40P01", "57014", "23514", "23503")

Done = TypeVar("Done")


def insist(connection: sa.Connection, work: Callable[[], Done]) -> Done | None:
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


def empty(connection: sa.Connection, partition: Partition, kept: str, values: Mapping[str, Any]) -> int:
    """Delete the content of what does not stay; return how many bytes the disk got back.

    What stays is written anew in the same transaction, which locks the partition meanwhile, and nothing else.
    """
    name = partition.name
    connection.execute(sql.hold(kept), values)
    connection.execute(sql.INDEX_HELD)
    if not connection.scalar(sql.has_others(name)):
        return 0
    connection.execute(sql.SET_ASIDE_TABLE)
    connection.execute(sql.set_aside(name))
    before = _disk(connection, name)
    connection.execute(sql.truncate(name))
    connection.execute(sql.put_back(name))
    return before - _disk(connection, name)


def rewrite(
    connection: sa.Connection,
    partition: Partition,
    kept: str,
    values: Mapping[str, Any],
    check: Callable[[], object] = lambda: None,
) -> int | None:
    """Put a copy of what stays in the partition's place; return how many bytes the disk got back, None for not done.

    What `check` raises after a piece ends this, and the next call goes on with the copy, as after one that was killed.
    """
    copy = copy_of(partition)
    with connection.begin():
        connection.execute(sql.create(copy, "IF NOT EXISTS"))
        left = list(connection.execute(sql.stays(kept, copy), values))
    for ids in pieces(left):
        with connection.begin():
            connection.execute(sql.copy(partition.name, copy), {"ids": ids})
        check()
    freed = insist(connection, lambda: _swap(connection, partition, copy, kept, values))
    if freed is None:
        forget_copy(connection, partition)
    return freed


def copy_of(partition: Partition) -> str:
    """Return the name of the partition's copy, while there is one."""
    return f"{partition.name}_kept"


def forget_copy(connection: sa.Connection, partition: Partition) -> bool:
    """Drop the copy that a call may have left which did not come to its end; False where somebody reads it, a dump."""
    return insist(connection, lambda: connection.execute(sql.forget(copy_of(partition)))) is not None


def pieces(left: Iterable[Any]) -> Iterator[list[uuid.UUID]]:
    """Yield the ids that one transaction copies, one at least, of artifacts with an `id` and a `size`."""
    piece: list[uuid.UUID] = []
    size = 0
    for row in left:
        if piece and (len(piece) == COPIED or size + row.size > COPIED_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(row.id)
        size += row.size
    if piece:
        yield piece


def _swap(connection: sa.Connection, partition: Partition, copy: str, kept: str, values: Mapping[str, Any]) -> int:
    name = partition.name
    # What came to stay since the copy was begun, and what was deleted.
    connection.execute(sql.copy_rest(name, copy, kept), values)
    connection.execute(sql.without_artifacts(copy))
    freed = _disk(connection, name) - _disk(connection, copy)
    connection.execute(sql.LIMIT, {"limit": str(LOCK_LIMIT)})
    connection.execute(sql.LOCK_PARENT)
    connection.execute(sql.drop(name))
    connection.execute(sql.rename(copy, name))
    connection.execute(sql.attach(name, partition.bounds))
    return freed


def _disk(connection: sa.Connection, name: str) -> int:
    return int(connection.scalar(sql.DISK, {"name": name}) or 0)
