"""The tables. Times are aware; ids are UUIDs; `data` is the column `metadata`, a name that SQLAlchemy keeps."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ibutsu_server.store import indexed

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def _equalities(table: str, *columns: str) -> tuple[sa.Index, ...]:
    """Return the indexes that filters for equality need: of the texts in a project, and of the metadata."""
    texts = (
        sa.Index(
            f"ix_{table}_project_id_{column}",
            "project_id",
            sa.text(indexed.prefix_sql(column)),
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
        for column in columns
    )
    metadata = sa.Index(
        f"ix_{table}_metadata",
        sa.literal_column(indexed.METADATA_SQL, JSONB).label("indexed"),
        postgresql_using="gin",
        postgresql_ops={"indexed": "jsonb_path_ops"},
    )
    return (*texts, metadata)


class Base(DeclarativeBase):
    """The declarative base of all tables."""

    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own form
        dt.datetime: sa.DateTime(timezone=True),
        dict[str, Any]: JSONB,
        str: sa.Text,
    }


class Group(Base):
    """A group of projects and users. Its owner is who made it."""

    __tablename__ = "groups"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str]
    # The users' table refers to this one too.
    owner_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL", use_alter=True))


class User(Base):
    """Somebody who may log in. `password_hash` is None for one who can only use tokens made by command."""

    __tablename__ = "users"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    password_hash: Mapped[str | None]
    is_superadmin: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    is_active: Mapped[bool] = mapped_column(default=True, server_default=sa.true())
    group_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("groups.id", ondelete="SET NULL"))
    created: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())


class Project(Base):
    """What runs belong to. `retention` is its own policy, months by kind and whole, or None for the default one."""

    __tablename__ = "projects"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str | None]
    owner_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"))
    group_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("groups.id", ondelete="SET NULL"))
    retention: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
    created: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())


class ProjectMember(Base):
    """That a user is a member of a project."""

    __tablename__ = "project_members"

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Invitation(Base):
    """That whoever gets an account with this address becomes a member of the project."""

    __tablename__ = "invitations"

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True, index=True)


class Token(Base):
    """A bearer token, known by its id (`jti` of the JWT): without its row it is worth nothing."""

    __tablename__ = "tokens"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    expires: Mapped[dt.datetime]
    created: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())


class SigningKey(Base):
    """The key that signs tokens, made by the migration, so that every backend has the same one."""

    __tablename__ = "signing_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]


class Run(Base):
    """One run of tests. `duration` is in seconds; `summary` is computed from its results.

    One that is `pinned` is never pruned, nor its results and artifacts.
    """

    __tablename__ = "runs"
    __table_args__ = (
        sa.Index("ix_runs_project_id_start_time", "project_id", "start_time", "id"),
        sa.Index("ix_runs_start_time", "start_time", "id"),
        sa.Index("ix_runs_created", "created"),
        *_equalities("runs", "component", "env", "source"),
        sa.Index("ix_runs_pinned", "id", postgresql_where=sa.text("pinned")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    created: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())
    start_time: Mapped[dt.datetime | None]
    duration: Mapped[float | None]
    source: Mapped[str | None]
    component: Mapped[str | None]
    env: Mapped[str | None]
    project_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("projects.id"))
    summary: Mapped[dict[str, Any] | None]
    data: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=sa.text("'{}'::jsonb"))
    pinned: Mapped[bool] = mapped_column(default=False, server_default=sa.false())


class Result(Base):
    """One test's result in a run. `duration` is in seconds."""

    __tablename__ = "results"
    __table_args__ = (
        sa.Index("ix_results_run_id_start_time", "run_id", "start_time", "id"),
        sa.Index("ix_results_project_id_start_time", "project_id", "start_time", "id"),
        sa.Index("ix_results_start_time", "start_time", "id"),
        # Few results are anything but passed, and those are looked for.
        *(
            sa.Index(
                f"ix_results_{owner}_result",
                *(owner, "result", "start_time", "id"),
                postgresql_where=sa.text("result <> 'passed'"),
            )
            for owner in ("project_id", "run_id")
        ),
        *_equalities("results", "test_id", "component", "env", "source"),
        sa.CheckConstraint(
            "result IN ('passed', 'failed', 'error', 'skipped', 'xpassed', 'xfailed', 'manual', 'blocked')",
            name="result",
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    run_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("runs.id", ondelete="CASCADE"))
    project_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("projects.id"))
    test_id: Mapped[str | None]
    result: Mapped[str | None]
    start_time: Mapped[dt.datetime | None]
    duration: Mapped[float | None]
    source: Mapped[str | None]
    component: Mapped[str | None]
    env: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=sa.text("'{}'::jsonb"))
    params: Mapped[dict[str, Any] | None]
    created: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())


class Artifact(Base):
    """A file of a run or of a result; its bytes are in `artifact_chunks`. `id` is a UUIDv7 made here."""

    __tablename__ = "artifacts"
    __table_args__ = (
        sa.Index("ix_artifacts_upload_date_id", "upload_date", "id"),
        sa.CheckConstraint("(run_id IS NULL) <> (result_id IS NULL)", name="one_owner"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    # An archive may hold an artifact before its result; an import defers the check to its commit.
    result_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("results.id", ondelete="CASCADE", deferrable=True), index=True
    )
    run_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="CASCADE", deferrable=True), index=True
    )
    filename: Mapped[str]
    additional_metadata: Mapped[dict[str, Any]] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    upload_date: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())
    size: Mapped[int] = mapped_column(sa.BigInteger)


class ArtifactChunk(Base):
    """A piece of an artifact's bytes; the pieces in the order of `position`, from 0, are the file.

    The table is partitioned by the time of the ids; see `ibutsu_server.store.partitions`.
    """

    __tablename__ = "artifact_chunks"
    __table_args__ = {"postgresql_partition_by": "RANGE (artifact_id)"}  # noqa: RUF012 - SQLAlchemy's own form

    artifact_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("artifacts.id", ondelete="CASCADE", deferrable=True), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class Import(Base):
    """An upload and what became of it; `import_results(file_id)` takes its id.

    `sent` is when its message was last put on the broker, None when that failed. `error` is a sentence for the user:
    why it failed, or why its last attempt did. `attempts` counts how often a worker began with it, `lost` how many
    workers ended without a word, and `retries` is Celery's own count at the last beginning. `fingerprint` is the same
    for uploads that say the same. `size` is in bytes; the bytes are in `upload_chunks` until the import is done.
    """

    __tablename__ = "imports"
    __table_args__ = (
        sa.CheckConstraint("status IN ('pending', 'running', 'done', 'error')", name="status"),
        sa.Index("ix_imports_unfinished", "created", postgresql_where=sa.text("status IN ('pending', 'running')")),
        sa.Index("ix_imports_project_id_created", "project_id", "created"),
        sa.Index("ix_imports_created", "created", "id"),
        sa.Index("ix_imports_fingerprint", "fingerprint", postgresql_where=sa.text("status <> 'error'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    status: Mapped[str] = mapped_column(default="pending", server_default="pending")
    filename: Mapped[str]
    format: Mapped[str]
    size: Mapped[int] = mapped_column(sa.BigInteger)
    sha256: Mapped[str]
    fingerprint: Mapped[str | None]
    project_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"))
    source: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=sa.text("'{}'::jsonb"))
    run_id: Mapped[uuid.UUID | None]
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    lost: Mapped[int] = mapped_column(default=0, server_default="0")
    retries: Mapped[int] = mapped_column(default=0, server_default="0")
    created: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())
    sent: Mapped[dt.datetime | None]
    started: Mapped[dt.datetime | None]
    finished: Mapped[dt.datetime | None]


class UploadChunk(Base):
    """A piece of an upload's bytes; the pieces in the order of `position`, from 0, are the file."""

    __tablename__ = "upload_chunks"

    import_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class Maintenance(Base):
    """The ledger of maintenance: a row for each slot of a periodic task, and for each such task sent without one.

    `entry` and `slot` are those of the schedule. `started` is when its last worker began, None where the entry was new
    and the slot is not made up for; `attempts` counts how often one began. `worker` is who did it or is at it, None
    while it waits to be tried again or continued. `parts` counts those that ended with their time, and are continued by
    another message. `counts` is what the task says it did in all, without its `bytes`; `error` is a sentence.
    """

    __tablename__ = "maintenance"
    __table_args__ = (
        sa.UniqueConstraint("entry", "slot"),
        sa.Index("ix_maintenance_finished", "finished", "id"),
        sa.Index("uq_maintenance_task_id", "task_id", unique=True, postgresql_where=sa.text("slot IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    entry: Mapped[str | None]
    task: Mapped[str]
    task_id: Mapped[str | None]
    slot: Mapped[dt.datetime | None]
    sent: Mapped[dt.datetime | None]
    started: Mapped[dt.datetime | None]
    finished: Mapped[dt.datetime | None]
    worker: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    parts: Mapped[int] = mapped_column(default=0, server_default="0")
    counts: Mapped[dict[str, Any] | None]
    bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    error: Mapped[str | None]
    status: Mapped[str] = mapped_column(
        sa.Computed(
            "CASE WHEN started IS NULL THEN 'skipped' WHEN finished IS NOT NULL AND error IS NULL THEN 'done' "
            "WHEN finished IS NOT NULL THEN 'error' WHEN worker IS NULL THEN 'waiting' ELSE 'running' END",
            persisted=True,
        )
    )


class Dashboard(Base):
    """A page of widgets, of a project or, without one, of a user."""

    __tablename__ = "dashboards"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    title: Mapped[str | None]
    description: Mapped[str | None]
    filters: Mapped[str | None]
    project_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"), index=True)


class WidgetConfig(Base):
    """A widget with its parameters, of a project or, without one, of a user."""

    __tablename__ = "widget_configs"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    type: Mapped[str | None]
    widget: Mapped[str | None]
    project_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"), index=True)
    weight: Mapped[int] = mapped_column(default=0, server_default="0")
    params: Mapped[dict[str, Any]] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    title: Mapped[str | None]
