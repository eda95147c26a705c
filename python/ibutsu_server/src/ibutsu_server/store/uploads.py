"""Uploads: their bytes in chunks, written and read as streams, and their imports' states."""

from __future__ import annotations

import hashlib
import io
import json
import time
import uuid
from collections.abc import Callable, Container
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ibutsu_server.store import chunks
from ibutsu_server.store.models import Import, Run, UploadChunk

UNFINISHED = ("pending", "running")

LOST_AFTER = "30 seconds"
"""How long ago an import whose message is nowhere was sent, or one that nobody works on was begun, at least, before it
is sent again."""

LOST = "Its last worker was lost while it imported this (killed, or out of memory); another is at it."
AWAY = "The database went away during the last attempt; another is under way."
"""What an import says of its last attempt where that could not say so itself."""

PATIENCE = 5.0
"""Seconds to wait for an import's lock: PostgreSQL finds out in about one that the worker that held it is gone."""


class UploadWriter(io.RawIOBase):
    """A writable stream whose bytes become the upload's chunks, within the session's open transaction.

    `size`, in bytes, and `sha256`, as hexadecimal digits, are true after `close`.
    """

    def __init__(self, session: Session, import_id: uuid.UUID) -> None:
        self._session = session
        self._import_id = import_id
        self._buffer = bytearray()
        self._position = 0
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of all that was written."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes, and store each chunk that is full."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._buffer += view
        self.size += len(view)
        while len(self._buffer) >= chunks.SIZE:
            self._store(bytes(memoryview(self._buffer)[: chunks.SIZE]))
            del self._buffer[: chunks.SIZE]
        return len(view)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Store what is left, unless an error ends the block: its transaction takes nothing more, and says it worse."""
        if kind is not None:
            self._buffer.clear()
        self.close()

    def close(self) -> None:
        """Store what is left."""
        if not self.closed and self._buffer:
            self._store(bytes(self._buffer))
            self._buffer.clear()
        super().close()

    def _store(self, data: bytes) -> None:
        chunks.store(self._session, chunks.Chunks.UPLOAD, self._import_id, self._position, data)
        self._position += 1


class UploadReader(io.RawIOBase):
    """A readable and seekable stream over an upload's chunks; one chunk is in memory at a time.

    `bytes_read` counts what was read, for progress.
    """

    def __init__(self, session: Session, import_id: uuid.UUID, size: int) -> None:
        self._session = session
        self._import_id = import_id
        self._size = size
        self._offset = 0
        self._loaded = -1
        self._chunk = b""
        self.bytes_read = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset` bytes from the start, the present place or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def tell(self) -> int:
        """Return the place, in bytes from the start."""
        return self._offset

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what the present chunk has, fetching it where needed."""
        if self._offset >= self._size:
            return 0
        position, start = divmod(self._offset, chunks.SIZE)
        if position != self._loaded:
            self._chunk = self._fetch(position)
            self._loaded = position
        data = self._chunk[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._offset += len(data)
        self.bytes_read += len(data)
        return len(data)

    def _fetch(self, position: int) -> bytes:
        data = chunks.fetch(self._session, chunks.Chunks.UPLOAD, self._import_id, position)
        if data is None:
            raise MissingUploadError(f"Chunk {position} of the upload {self._import_id} is not in the database.")
        return data


class MissingUploadError(Exception):
    """The bytes of an upload are not there, or not all of them."""


def claim(session: Session, import_id: uuid.UUID, *, retries: int) -> Import | None:
    """Note that a worker begins with the import, in a transaction of its own.

    None where there is nothing to do: it has ended, or another worker is at it. `retries` is how often the message
    was sent again by a worker that met a transient failure. An import that still counts as running, without such a
    retry, lost its worker; or it has a second message, which came in the instant before the first had its lock. That
    worker's lock may outlive it for a moment, and the message that tells of its end would be gone for nothing, so the
    lock is waited for.
    """
    deadline = time.monotonic() + PATIENCE
    while (row := _begin(session, import_id, retries)) is None and time.monotonic() < deadline:
        if not session.scalar(sa.select(Import.status.in_(UNFINISHED)).where(Import.id == import_id)):
            break
        session.rollback()
        time.sleep(0.2)
    return row


def _begin(session: Session, import_id: uuid.UUID, retries: int) -> Import | None:
    lost = sa.and_(Import.status == "running", Import.retries >= retries)
    last = sa.case((lost, LOST), (Import.status == "running", AWAY), else_=Import.error)
    row = session.execute(
        sa.update(Import)
        .where(Import.id == import_id, Import.status.in_(UNFINISHED), _lockable(import_id))
        .values(
            status="running",
            started=sa.func.clock_timestamp(),
            attempts=Import.attempts + 1,
            lost=Import.lost + sa.case((lost, 1), else_=0),
            error=last,
            retries=retries,
        )
        .returning(Import)
    ).scalar_one_or_none()
    session.commit()
    return row


def lock(session: Session, import_id: uuid.UUID) -> bool:
    """Take the import's lock until the transaction ends; False where another worker has it."""
    return bool(session.scalar(sa.select(_lockable(import_id))))


def failed_once(session: Session, import_id: uuid.UUID, sentence: str) -> bool:
    """Note why an attempt failed that is to be repeated, in a transaction of its own; not while another is at it."""
    values = {"status": "pending", "error": _holdable(sentence)}
    mine = (Import.id == import_id, Import.status == "running", _lockable(import_id))
    noted = session.execute(sa.update(Import).where(*mine).values(values).returning(Import.id)).scalar_one_or_none()
    session.commit()
    return noted is not None


def fingerprint(row: Import, run_id: uuid.UUID | None) -> str:
    """Return what is the same for two uploads that say the same: the bytes, where they go, and what the form adds.

    `run_id` is the one that the file's name gives. Without a project in the form the bytes say it, for one user.
    """
    place = row.project_id or row.user_id
    said = [row.sha256, str(place), str(run_id), row.source, row.data.get("form") or {}]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def same_as(session: Session, row: Import) -> Import | None:
    """Return the newest import of an upload that says the same, if it has not failed and its run still says that.

    It does not where it is gone, or moved, or where another upload has changed it since. Whoever stores the same at
    this moment is waited for; the lock goes with the transaction.
    """
    session.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 2))"), {"key": row.fingerprint})
    run_exists = sa.exists().where(Run.id == Import.run_id, Run.project_id == Import.project_id)
    later = aliased(Import)
    changed = sa.exists().where(
        later.run_id == Import.run_id,
        later.status == "done",
        later.finished > Import.finished,
        later.fingerprint != Import.fingerprint,
    )
    return session.scalar(
        sa.select(Import)
        .where(Import.fingerprint == row.fingerprint, Import.status != "error", Import.id != row.id)
        .where(sa.or_(Import.status != "done", sa.and_(run_exists, ~changed)))
        .order_by(Import.created.desc())
        .limit(1)
    )


def retry(session: Session, import_id: uuid.UUID) -> bool:
    """Make a failed import wait for a worker again, as if none had begun; False where it has not failed, or has no
    bytes any more, or not all of them: retention deletes them from their end on. Does not commit.
    """
    last = UploadChunk.position == (Import.size - 1) // chunks.SIZE
    bytes_are_there = sa.or_(Import.size == 0, sa.exists().where(UploadChunk.import_id == Import.id, last))
    again = session.execute(
        sa.update(Import)
        .where(Import.id == import_id, Import.status == "error", bytes_are_there)
        .values(status="pending", attempts=0, lost=0, retries=0, sent=None, started=None, finished=None, error=None)
        .returning(Import.id)
    )
    return again.scalar_one_or_none() is not None


def delete(session: Session, import_id: uuid.UUID) -> bool:
    """Delete the import and its upload; False where a worker is at it, or is to take it over. Does not commit."""
    idle = (Import.id == import_id, Import.status != "running", _lockable(import_id))
    return session.execute(sa.delete(Import).where(*idle).returning(Import.id)).first() is not None


def fail(session: Session, import_id: uuid.UUID, sentence: str) -> None:
    """Mark the import failed, with the sentence for its user, in a transaction of its own. The bytes stay."""
    session.execute(
        sa.update(Import)
        .where(Import.id == import_id, Import.status.in_(UNFINISHED))
        .values(status="error", finished=sa.func.clock_timestamp(), error=_holdable(sentence))
    )
    session.commit()


def left_over(session: Session, waiting: Callable[[], Container[uuid.UUID]]) -> list[tuple[uuid.UUID, int]]:
    """Return the imports that nobody works on and that no message will start, and keep their locks.

    A working import holds its lock, so a lock that can be had says that its worker is gone. `waiting` gives the
    imports whose message is on the queue; it is asked after the database, so that what was sent meanwhile is there.
    With each comes the count of retries that its message is to go on from: one that waits for its retry is among
    them, since nothing tells whether the worker that holds the message still lives, and a message too many is harmless.
    """
    since = sa.case((Import.status == "running", Import.started), else_=sa.func.coalesce(Import.sent, Import.created))
    query = sa.select(Import.id, Import.status, Import.retries).where(
        Import.status.in_(UNFINISHED), since < sa.func.now() - sa.cast(LOST_AFTER, sa.Interval)
    )
    candidates = list(session.execute(query))
    queued = waiting() if any(status == "pending" for _, status, _ in candidates) else ()
    return [
        (import_id, retries)
        for import_id, status, retries in candidates
        if not (status == "pending" and import_id in queued) and lock(session, import_id)
    ]


def mark_sent(session: Session, import_id: uuid.UUID) -> None:
    """Note that the import's message is on the broker. Does not commit."""
    session.execute(sa.update(Import).where(Import.id == import_id).values(sent=sa.func.now()))


def _lockable(import_id: uuid.UUID) -> sa.ColumnElement[bool]:
    key = sa.func.hashtextextended(sa.literal(str(import_id)), 0)
    return sa.func.pg_try_advisory_xact_lock(key)


def _holdable(sentence: str) -> str:
    return sentence.replace("\x00", "\N{REPLACEMENT CHARACTER}")
