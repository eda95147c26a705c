"""Artifacts: their bytes in chunks, written and read as streams."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from ibutsu_server.store.models import Artifact, ArtifactChunk

CHUNK_SIZE = 512 * 1024
"""Bytes of a chunk at most."""


def rechunk(chunks: Iterable[bytes], size: int = CHUNK_SIZE) -> Iterator[bytes]:
    """Yield the same bytes in chunks of just `size` bytes, the last one shorter."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def write(
    session: Session,
    chunks: Iterable[bytes],
    *,
    filename: str,
    run_id: uuid.UUID | None = None,
    result_id: uuid.UUID | None = None,
    additional_metadata: dict[str, Any] | None = None,
) -> Artifact:
    """Store one artifact of a run or of a result. Does not commit."""
    artifact = Artifact(
        id=uuid7(),
        run_id=run_id,
        result_id=result_id,
        filename=filename,
        additional_metadata=additional_metadata or {},
        size=0,
    )
    session.add(artifact)
    session.flush()
    for position, data in enumerate(rechunk(chunks)):
        session.execute(sa.insert(ArtifactChunk).values(artifact_id=artifact.id, position=position, data=data))
        artifact.size += len(data)
    session.flush()
    session.refresh(artifact)
    return artifact


def chunks_of(session: Session, artifact_id: uuid.UUID) -> Iterator[bytes]:
    """Yield the artifact's bytes, one chunk in memory at a time."""
    position = 0
    while True:
        data = session.scalar(
            sa.select(ArtifactChunk.data).where(
                ArtifactChunk.artifact_id == artifact_id, ArtifactChunk.position == position
            )
        )
        if data is None:
            return
        yield bytes(data)
        position += 1
