"""Artifacts as they would have been stored in an old month, and what became of them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from ibutsu_server.store import artifacts, partitions
from ibutsu_server.store.models import Artifact, ArtifactChunk, Run
from ibutsu_server.store.partitions import Dropped, ManyStay

NOW = dt.datetime.now(dt.UTC)
OLD = dt.datetime(2020, 5, 15, 12, tzinfo=dt.UTC)
CUTOFF = dt.datetime(2020, 6, 1, tzinfo=dt.UTC)
STAYING = "SELECT unnest(CAST(:staying AS uuid[]))"


def made(instant: dt.datetime) -> uuid.UUID:
    """Make an id as the server does at that instant."""
    return uuid.UUID(bytes=uuid7(nanoseconds=int(instant.timestamp()) * 10**9).bytes)


def upload(session: Session, run: Run, when: dt.datetime, *pieces: bytes) -> uuid.UUID:
    """Store an artifact of these chunks as it would have been at that instant."""
    artifact = Artifact(
        id=made(when), run_id=run.id, filename="a.log", upload_date=when, size=sum(len(piece) for piece in pieces)
    )
    session.add(artifact)
    session.flush()
    rows = [ArtifactChunk(artifact_id=artifact.id, position=n, data=piece) for n, piece in enumerate(pieces)]
    session.add_all(rows)
    session.commit()
    return artifact.id


def content(session: Session, artifact_id: uuid.UUID) -> bytes:
    with session.begin():
        return b"".join(artifacts.chunks_of(session, artifact_id))


def where(session: Session, artifact_id: uuid.UUID) -> str | None:
    """Return the name of the partition that has the artifact's content."""
    query = "SELECT DISTINCT tableoid::regclass::text FROM artifact_chunks WHERE artifact_id = :id"
    with session.begin():
        return session.scalar(sa.text(query), {"id": artifact_id})


def ids(session: Session) -> set[uuid.UUID]:
    with session.begin():
        return set(session.scalars(sa.select(Artifact.id)))


def drop(connection: sa.Connection, *staying: uuid.UUID, **options: Any) -> list[Dropped | ManyStay]:
    return [
        partitions.drop(connection, one, kept=STAYING, parameters={"staying": list(staying)}, **options)
        for one in partitions.expired(connection, CUTOFF)
    ]


def names(connection: sa.Connection) -> list[str]:
    return [one.name for one in partitions.existing(connection)]
