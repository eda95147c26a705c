"""Bytes in chunks, a row each, written and read by COPY: in a statement they are twice as many hexadecimal digits."""

from __future__ import annotations

import enum
import io
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy.orm import Session

from ibutsu_server.store.copy_format import END, HEADER, chunk_head

SIZE = 512 * 1024
"""Bytes of a chunk; all but the last of a file have just this many."""

# Bytes of COPY's binary format around the only field of its only row: the header, and two counts; the end mark.
_BEFORE_DATA = len(HEADER) + 2 + 4
_AFTER_DATA = len(END)


class Chunks(enum.Enum):
    """The tables of chunks, and the columns of their owners."""

    UPLOAD = ("upload_chunks", "import_id")
    ARTIFACT = ("artifact_chunks", "artifact_id")


def rechunk(chunks: Iterable[bytes], size: int = SIZE) -> Iterator[bytes]:
    """Yield the same bytes in chunks of just `size` bytes, the last one shorter."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            yield bytes(memoryview(buffer)[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def store(session: Session, kind: Chunks, owner: uuid.UUID, position: int, data: bytes) -> None:
    """Store one chunk within the session's transaction, whose owner's row is there or waits in the session."""
    table, column = kind.value
    session.flush()
    pieces = _Pieces(HEADER + chunk_head(owner.bytes, position, len(data)), data, END)
    _cursor(session).copy_expert(f"COPY {table} ({column}, position, data) FROM STDIN (FORMAT binary)", pieces, SIZE)


def fetch(session: Session, kind: Chunks, owner: uuid.UUID, position: int) -> bytes | None:
    """Return one chunk, or None where there is none."""
    table, column = kind.value
    query = f"SELECT data FROM {table} WHERE {column} = '{owner}' AND position = {position:d}"  # noqa: S608 - of a UUID and a number
    file = io.BytesIO()
    cursor = _cursor(session)
    cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", file)
    return bytes(file.getbuffer()[_BEFORE_DATA:-_AFTER_DATA]) if cursor.rowcount == 1 else None


class _Pieces:
    """A file that gives these bytes, a piece at a time, as COPY reads it; they are not copied to be one."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = iter(pieces)

    def read(self, _size: int) -> bytes:
        return next(self._pieces, b"")


def _cursor(session: Session) -> Any:
    return session.connection().connection.cursor()
