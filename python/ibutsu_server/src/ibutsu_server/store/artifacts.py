"""Artifacts: their bytes in chunks, written and read as streams."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from ibutsu_server.store.chunks import Chunks, fetch, rechunk, store
from ibutsu_server.store.models import Artifact


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
        store(session, Chunks.ARTIFACT, artifact.id, position, data)
        artifact.size += len(data)
    session.flush()
    session.refresh(artifact)
    return artifact


def chunks_of(session: Session, artifact_id: uuid.UUID) -> Iterator[bytes]:
    """Yield the artifact's bytes, one chunk in memory at a time."""
    position = 0
    while (data := fetch(session, Chunks.ARTIFACT, artifact_id, position)) is not None:
        yield data
        position += 1
