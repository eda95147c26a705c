"""Storing a report: rows by COPY, all within the session's open transaction."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from psycopg2 import errors
from sqlalchemy import exc
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from ibutsu_core.records import ArtifactRecord, ResultRecord, RunRecord
from ibutsu_server.store import load_sql, summary
from ibutsu_server.store.chunks import rechunk
from ibutsu_server.store.copy_format import END, HEADER
from ibutsu_server.store.copy_rows import (
    ARTIFACT_COLUMNS,
    CHUNK_COLUMNS,
    RESULT_COLUMNS,
    ArtifactRows,
    ResultRows,
    as_json,
)
from ibutsu_server.store.metadata import merged
from ibutsu_server.store.models import Project

FLUSH_SIZE = 1024 * 1024
"""Bytes that wait for a COPY at most, but for a single larger row."""

READ_SIZE = 256 * 1024
"""Bytes that the driver takes of them at a time."""


class RefusedError(Exception):
    """The report is readable, but what it says cannot be stored; the message is a sentence for its user."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the upload's form says; it wins over the report."""

    source: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """Return the metadata's entry where it is a text."""
        value = self.metadata.get(name)
        return value if isinstance(value, str) else None


@dataclasses.dataclass(slots=True)
class Loaded:
    """What a load stored. `notes` are sentences for the run's reader."""

    run_id: uuid.UUID
    format: str = ""
    results: int = 0
    artifacts: int = 0
    notes: tuple[str, ...] = ()


class ReportLoader:
    """Stores one report, and marks its import done.

    `project` is the form's, or None where the report is to say; `find_project` then turns what it says into a project
    that the uploader may use, or raises RefusedError. `keeps_sources` is true for formats whose results have sources
    and environments of their own that the form does not replace. `progress` is told the results so far.

    Beside the COPYs there is one round trip to begin and one to finish; a run that exists already takes a few more.
    """

    def __init__(
        self,
        session: Session,
        *,
        project: Project | None,
        find_project: Callable[[str | None], Project],
        form: Form,
        now: dt.datetime,
        keeps_sources: bool,
        progress: Callable[[int], None] = lambda _results: None,
    ) -> None:
        self._session = session
        self._cursor: Any = session.connection().connection.cursor()
        self._project = project
        self._find_project = find_project
        self._form = form
        self._keeps_sources = keeps_sources
        self._now = now
        self._progress = progress
        self._run = RunRecord(id=uuid.UUID(int=0))
        self._existed = False
        self._stored_project: uuid.UUID | None = None
        self._without_project = False
        self._encoder = ResultRows(self._run.id, None, start=now)
        self._artifact_encoder = ArtifactRows(now)
        self._results = _Rows()
        self._artifacts = _Rows()
        self._chunks = _Rows()
        self.loaded = Loaded(run_id=self._run.id)

    def begin(self, run: RunRecord) -> None:
        """Make the run's row, or take the one that exists, and keep others from the run."""
        self.loaded.run_id = run.id
        self._project = self._project or (self._find_project(run.project) if run.project is not None else None)
        self._take(run)
        project_id = self._project.id if self._project else None
        # A run that exists may be pruned before it is kept, and is made anew then.
        while self._session.scalar(load_sql.BEGIN, {"run_id": run.id, "project_id": project_id}) is None:
            stored = self._session.execute(load_sql.STORED_PROJECT, {"run_id": run.id}).one_or_none()
            if stored is not None:
                self._existed = True
                self._stored_project = stored.project_id
                self._refuse_foreign()
                self._session.execute(load_sql.INCOMING)
                break

    def replace_run(self, run: RunRecord) -> None:
        """Take a later and fuller account of the run."""
        if self._project is None and run.project is not None:
            self._set_project(run.project)
        self._take(run)

    def add_result(self, result: ResultRecord) -> None:
        """Store a result."""
        self.loaded.results += 1
        if self._results.add(self._encoder.row(result)):
            self._flush_results()

    def add_artifact(self, artifact: ArtifactRecord) -> None:
        """Store an artifact, one chunk in memory at a time."""
        artifact_id = uuid7().bytes
        size = 0
        for position, data in enumerate(rechunk(artifact.chunks)):
            size += len(data)
            if self._chunks.add(self._artifact_encoder.chunk(artifact_id, position, data)):
                self._flush_chunks()
        row = self._artifact_encoder.row(
            artifact_id, result_id=artifact.result_id, run_id=artifact.run_id, filename=artifact.filename, size=size
        )
        self.loaded.artifacts += 1
        if self._artifacts.add(row):
            self._flush_artifacts()

    def finish(self, import_id: uuid.UUID, *, format: str, data: Mapping[str, Any]) -> Loaded | None:  # noqa: A002
        """Store what waits, complete the run with its summary, and mark the import done, with `data` for its metadata.

        None where the import was ended by somebody else meanwhile. Does not commit.
        """
        run, form = self._run, self._form
        self._flush_results()
        self._flush_artifacts()
        self._flush_chunks()
        project = self._project or self._set_project(run.project)
        self.loaded.format = format
        self.loaded.notes = run.notes
        counts = {"notes": list(run.notes), "results": self.loaded.results, "artifacts": self.loaded.artifacts}
        parameters = {
            "run_id": run.id,
            "project_id": project.id,
            "start_time": run.start_time,
            "now": self._now,
            "source": form.source or run.source,
            "component": form.text("component") or run.component,
            "env": form.text("env") or run.env,
            "claimed": as_json(summary.claims(run.summary)).decode(),
            # A run that others have reported into takes as long as all of them.
            "reported": None if self._existed else run.duration,
            "import_id": import_id,
            "format": format,
            "data": as_json({**data, **counts}).decode(),
        }
        settle = load_sql.settle(existed=self._existed, without_project=self._without_project)
        try:
            if self._existed:
                # Others may change the run while its import goes on, until here.
                stored = self._session.scalar(sa.text(f"{settle}; {load_sql.STORED_METADATA}"), parameters)
                parameters["metadata"] = as_json(self._metadata(stored or {})).decode()
                done = self._session.scalar(sa.text(load_sql.COMPLETE), parameters)
            else:
                parameters["metadata"] = as_json(self._metadata({})).decode()
                done = self._session.scalar(sa.text(f"{settle}; {load_sql.COMPLETE}"), parameters)
        except exc.IntegrityError as error:
            if isinstance(error.orig, errors.ForeignKeyViolation):
                raise RefusedError(
                    f"An artifact belongs to a result that the report does not hold: {error.orig.diag.message_detail}"
                ) from error
            raise
        return None if done is None else self.loaded

    def _metadata(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the run's metadata: what is stored, over it the report's, over that the form's."""
        metadata = merged(merged(stored, self._run.metadata), self._form.metadata)
        if self._run.notes:
            metadata["import_notes"] = list(self._run.notes)
        return metadata

    def _take(self, run: RunRecord) -> None:
        self._run = run
        own, form = self._keeps_sources, self._form
        self._encoder = ResultRows(
            run.id,
            self._project.id if self._project else None,
            start=run.start_time or self._now,
            source=None if own else form.source,
            component=None if own else form.text("component"),
            env=None if own else form.text("env"),
            metadata=form.metadata,
        )

    def _set_project(self, name: str | None) -> Project:
        """Take the project that the report says, at last; the results until here were made without one."""
        self._project = self._find_project(name)
        self._without_project = self.loaded.results > 0
        self._refuse_foreign()
        return self._project

    def _refuse_foreign(self) -> None:
        stored, project = self._stored_project, self._project
        if project is not None and stored not in (None, project.id):
            raise RefusedError(
                f"The run {self._run.id} exists already in another project than {project.name!r}, "
                "where this report was to go."
            )

    def _flush_results(self) -> None:
        if not self._results:
            return
        try:
            self._copy(self._results, "incoming_results" if self._existed else "results", RESULT_COLUMNS)
        except errors.UniqueViolation as error:
            raise RefusedError(
                f"A result of the run {self.loaded.run_id} has an id that is stored already: "
                f"{error.diag.message_detail}"
            ) from error
        if self._existed:
            self._upsert_results()
        self._progress(self.loaded.results)

    def _upsert_results(self) -> None:
        self._cursor.execute(load_sql.UPSERT)
        stored, incoming = self._cursor.fetchone()
        if stored != incoming:
            raise RefusedError(f"A result of the run {self.loaded.run_id} is already stored in another run.")
        self._cursor.execute(load_sql.FORGET_INCOMING)

    def _flush_artifacts(self) -> None:
        self._copy(self._artifacts, "artifacts", ARTIFACT_COLUMNS)
        self._progress(self.loaded.results)

    def _flush_chunks(self) -> None:
        self._copy(self._chunks, "artifact_chunks", CHUNK_COLUMNS)
        self._progress(self.loaded.results)

    def _copy(self, rows: _Rows, table: str, columns: str) -> None:
        if rows:
            self._cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)", rows.taken(), READ_SIZE)


class _Rows:
    """Rows that wait for a COPY."""

    def __init__(self) -> None:
        self._rows: list[bytes] = [HEADER]
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._size)

    def add(self, row: bytes) -> bool:
        """Take a row; return whether it is time for a COPY."""
        self._rows.append(row)
        self._size += len(row)
        return self._size >= FLUSH_SIZE

    def taken(self) -> io.BytesIO:
        """Give the rows away, as a file in COPY's format."""
        self._rows.append(END)
        file = io.BytesIO(b"".join(self._rows))
        self._rows = [HEADER]
        self._size = 0
        return file
