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
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from ibutsu_core.records import ArtifactRecord, ResultRecord, RunRecord
from ibutsu_server.store import summary
from ibutsu_server.store.artifacts import rechunk
from ibutsu_server.store.copy_rows import BINARY_END, BINARY_HEADER, chunk_row, merged, text_row
from ibutsu_server.store.models import Project, Run

FLUSH_SIZE = 1024 * 1024
"""Bytes or characters that wait for a COPY at most, but for a single larger row."""

_RESULT_COLUMNS = (
    "id, run_id, project_id, test_id, result, start_time, duration, source, component, env, metadata, params"
)
_ARTIFACT_COLUMNS = "id, result_id, run_id, filename, upload_date, size"


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
    results: int = 0
    artifacts: int = 0
    notes: tuple[str, ...] = ()


class ReportLoader:
    """Stores one report.

    `project` is the form's, or None where the report is to say; `find_project` then turns what it says into a project
    that the uploader may use, or raises RefusedError. `keeps_sources` is true for formats whose results have sources
    and environments of their own that the form does not replace. `progress` is told the results so far.
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
        self._now = now
        self._keeps_sources = keeps_sources
        self._progress = progress
        self._run: RunRecord | None = None
        self._existed = False
        self._late_project = False
        self._results = io.StringIO()
        self._artifacts = io.StringIO()
        self._chunks = io.BytesIO()
        self.loaded = Loaded(run_id=uuid.UUID(int=0))

    def begin(self, run: RunRecord) -> None:
        """Make the run's row, or take the one that exists, and keep others from the run."""
        self._run = run
        self.loaded.run_id = run.id
        summary.lock_run(self._session, run.id)
        self._session.execute(sa.text("SET CONSTRAINTS ALL DEFERRED"))
        if self._project is None and run.project is not None:
            self._project = self._find_project(run.project)
        self._late_project = self._project is None
        existing = self._session.get(Run, run.id)
        if existing is None:
            self._session.add(Run(id=run.id, project_id=self._project.id if self._project else None, data={}))
            self._session.flush()
            return
        self._existed = True
        self._refuse_foreign(existing)
        self._session.execute(
            sa.text("CREATE TEMPORARY TABLE incoming_results (LIKE results INCLUDING DEFAULTS) ON COMMIT DROP")
        )

    def replace_run(self, run: RunRecord) -> None:
        """Take a later and fuller account of the run."""
        self._run = run

    def add_result(self, result: ResultRecord) -> None:
        """Store a result."""
        form = self._form
        run = self._run
        own = self._keeps_sources
        row = (
            result.id,
            result.run_id,
            self._project.id if self._project else None,
            result.test_id,
            result.result,
            result.start_time or (run.start_time if run else None) or self._now,
            result.duration,
            result.source if own else form.source or result.source,
            result.component if own else form.text("component") or result.component,
            result.env if own else form.text("env") or result.env,
            merged(result.metadata, form.metadata) if form.metadata else result.metadata,
            result.params,
        )
        self._results.write(text_row(row))
        self.loaded.results += 1
        if self._results.tell() >= FLUSH_SIZE:
            self._flush_results()

    def add_artifact(self, artifact: ArtifactRecord) -> None:
        """Store an artifact, one chunk in memory at a time."""
        artifact_id = uuid7()
        size = 0
        for position, data in enumerate(rechunk(artifact.chunks)):
            self._chunks.write(chunk_row(artifact_id, position, data))
            size += len(data)
            if self._chunks.tell() >= FLUSH_SIZE:
                self._flush_chunks()
        row = (artifact_id, artifact.result_id, artifact.run_id, artifact.filename, self._now, size)
        self._artifacts.write(text_row(row))
        self.loaded.artifacts += 1
        if self._artifacts.tell() >= FLUSH_SIZE:
            self._flush_artifacts()

    def finish(self) -> Loaded:
        """Store what waits, complete the run, and compute its summary. Does not commit."""
        run = self._run
        if run is None:
            raise RefusedError("The report holds no run.")
        self._flush_results()
        self._flush_artifacts()
        self._flush_chunks()
        if self._existed:
            self._drop_replaced_artifacts(run.id)
        project = self._project or self._find_project(run.project)
        if self._late_project:
            stored = self._session.get_one(Run, run.id)
            stored.project_id = stored.project_id or project.id
            self._project = project
            self._refuse_foreign(stored)
            self._session.execute(
                sa.text("UPDATE results SET project_id = :project WHERE run_id = :run"),
                {"project": project.id, "run": run.id},
            )
        self._complete_run(run, project)
        summary.update_run(self._session, run.id)
        if run.duration is not None:
            self._session.execute(sa.update(Run).where(Run.id == run.id).values(duration=run.duration))
        self._check_deferred()
        self.loaded.notes = run.notes
        return self.loaded

    def _refuse_foreign(self, stored: Run) -> None:
        if self._project is not None and stored.project_id not in (None, self._project.id):
            raise RefusedError(
                f"The run {stored.id} exists already in another project than {self._project.name!r}, "
                "where this report was to go."
            )

    def _complete_run(self, run: RunRecord, project: Project) -> None:
        form = self._form
        stored = self._session.get_one(Run, run.id, populate_existing=True)
        stored.start_time = run.start_time or stored.start_time or self._now
        stored.source = form.source or run.source or stored.source
        stored.component = form.text("component") or run.component or stored.component
        stored.env = form.text("env") or run.env or stored.env
        stored.project_id = project.id
        stored.summary = {**(stored.summary or {}), **run.summary}
        stored.data = merged(merged(stored.data, run.metadata), form.metadata)
        if run.notes:
            stored.data = {**stored.data, "import_notes": list(run.notes)}
        self._session.flush()

    def _flush_results(self) -> None:
        if not self._results.tell():
            return
        table = "incoming_results" if self._existed else "results"
        self._copy(self._results, f"COPY {table} ({_RESULT_COLUMNS}) FROM STDIN")
        if self._existed:
            self._upsert_results()
        self._progress(self.loaded.results)

    def _upsert_results(self) -> None:
        names = [name.strip() for name in _RESULT_COLUMNS.split(",")]
        replaced = ", ".join(f"{name} = excluded.{name}" for name in names if name not in ("id", "run_id"))
        self._cursor.execute(
            f"INSERT INTO results ({_RESULT_COLUMNS}) SELECT {_RESULT_COLUMNS} FROM incoming_results "  # noqa: S608
            f"ON CONFLICT (id) DO UPDATE SET {replaced} WHERE results.run_id = excluded.run_id RETURNING id"
        )
        stored = self._cursor.rowcount
        self._cursor.execute("SELECT count(*) FROM incoming_results")
        if stored != self._cursor.fetchone()[0]:
            raise RefusedError(f"A result of the run {self.loaded.run_id} is already stored in another run.")
        self._cursor.execute("TRUNCATE incoming_results")

    def _flush_artifacts(self) -> None:
        if self._artifacts.tell():
            self._copy(self._artifacts, f"COPY artifacts ({_ARTIFACT_COLUMNS}) FROM STDIN")

    def _flush_chunks(self) -> None:
        if not self._chunks.tell():
            return
        data = BINARY_HEADER + self._chunks.getvalue() + BINARY_END
        self._chunks.seek(0)
        self._chunks.truncate()
        self._cursor.copy_expert(
            "COPY artifact_chunks (artifact_id, position, data) FROM STDIN (FORMAT binary)", io.BytesIO(data)
        )

    def _copy(self, rows: io.StringIO, statement: str) -> None:
        data = rows.getvalue().encode()
        rows.seek(0)
        rows.truncate()
        try:
            self._cursor.copy_expert(statement, io.BytesIO(data))
        except errors.UniqueViolation as error:
            raise RefusedError(
                f"A result of the run {self.loaded.run_id} has an id that is stored already: "
                f"{error.diag.message_detail}"
            ) from error

    def _drop_replaced_artifacts(self, run_id: uuid.UUID) -> None:
        for owner, where in (
            ("result_id", "new.result_id IN (SELECT id FROM results WHERE run_id = :run)"),
            ("run_id", "new.run_id = :run"),
        ):
            self._session.execute(
                sa.text(
                    "DELETE FROM artifacts AS old USING artifacts AS new "  # noqa: S608 - names from this module
                    f"WHERE {where} AND new.upload_date = :now "
                    f"AND old.{owner} = new.{owner} AND old.filename = new.filename AND old.upload_date <> :now"
                ),
                {"run": run_id, "now": self._now},
            )

    def _check_deferred(self) -> None:
        try:
            self._cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except errors.ForeignKeyViolation as error:
            raise RefusedError(
                f"An artifact belongs to a result that the report does not hold: {error.diag.message_detail}"
            ) from error
