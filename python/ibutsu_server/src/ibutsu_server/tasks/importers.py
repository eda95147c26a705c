"""Turning an upload into a run with its results and artifacts: once, as a whole, or not at all."""

from __future__ import annotations

import datetime as dt
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from flask import current_app
from sqlalchemy.orm import Session, scoped_session

from ibutsu_core import logs
from ibutsu_core.records import ArtifactRecord, ResultRecord
from ibutsu_core.settings import Settings
from ibutsu_core.task import IbutsuTask
from ibutsu_server.reports import Report, ReportError, read_report
from ibutsu_server.store import chunks, projects, uploads
from ibutsu_server.store.database import is_transient
from ibutsu_server.store.load import Form, Loaded, RefusedError, ReportLoader
from ibutsu_server.store.models import Import, Project, User
from ibutsu_server.tasks.progress import Progress

logger = get_task_logger(__name__)

MAX_ATTEMPTS = 30
"""Times that workers begin with an import before it is given up; those that were lost have a limit of their own."""


class ImportTask(IbutsuTask):
    """Notes in the import why an attempt failed that is repeated."""

    abstract = True

    def before_retry(self, error: Exception, delay: float) -> None:
        """Note it, if the database can be reached; else the next attempt is told by its message."""
        reason = f"The database was away or busy ({type(error).__name__}); it is tried again in {delay:.0f} s."
        try:
            session: scoped_session[Session] = current_app.extensions["ibutsu_session"]
            (file_id,) = self.request.args or (self.request.kwargs or {}).values()
            uploads.failed_once(session(), uuid.UUID(file_id), reason)
        except Exception as failure:  # noqa: BLE001 - the retry matters more than its note
            logger.warning("import %s: its retry could not be noted: %s", self.request.id, type(failure).__name__)


@shared_task(
    bind=True,
    base=ImportTask,
    name="ibutsu_server.tasks.importers.import_results",
    throws=(ReportError, RefusedError),
)
def import_results(self: Task[Any, Any], file_id: str) -> dict[str, Any]:
    """Import the upload with this id.

    1. Note the attempt, in a transaction of its own; an import that has ended, or that another worker is at, is left
       alone.
    2. Take the import's lock, which goes with this worker's connection.
    3. Read the upload as what its content is, store its rows by COPY, and mark it done: one transaction.

    A report that cannot be read or stored, or that a few workers were lost over, ends as `error` with a sentence and
    is not tried again. What passes by itself is noted in the import, and tried again.
    """
    session: scoped_session[Session] = current_app.extensions["ibutsu_session"]
    import_id = uuid.UUID(file_id)
    logs.bind(import_id=import_id)
    row = uploads.claim(session(), import_id, retries=self.request.retries)
    if row is None or not uploads.lock(session(), import_id):
        logger.info("import %s: nothing to do; it has ended, another worker is at it, or it does not exist", import_id)
        return {"import_id": file_id, "imported": False}
    # What its name promises; an upload that cannot be read is of no other format.
    logs.bind(format=row.format)
    try:
        _refuse_endless(row)
        loaded = _load(self, session(), row)
        session.commit()
    except Exception as error:
        session.rollback()
        if not is_transient(error):
            uploads.fail(session(), import_id, _sentence(row, error))
        raise
    logs.bind(run_id=loaded.run_id)
    logger.info(
        "import %s: %d results, %d artifacts, run %s", import_id, loaded.results, loaded.artifacts, loaded.run_id
    )
    return {
        "import_id": file_id,
        "imported": True,
        "run_id": str(loaded.run_id),
        "format": loaded.format,
        "bytes": row.size,
        "results": loaded.results,
        "artifacts": loaded.artifacts,
    }


def _refuse_endless(row: Import) -> None:
    if row.lost >= _settings().import_attempts:
        raise RefusedError(
            f"{row.filename}: {row.lost} workers were lost while they imported it (killed, or out of memory), "
            f"so it is not tried again. `ibutsu imports retry {row.id}` does."
        )
    if row.attempts - row.lost > MAX_ATTEMPTS:
        raise RefusedError(
            f"{row.filename}: its import was begun {row.attempts - 1} times and never ended. "
            f"The last attempt failed so: {row.error or 'no reason is known'}"
        )


def _settings() -> Settings:
    settings: Settings = current_app.extensions["ibutsu_settings"]
    return settings


def _sentence(row: Import, error: Exception) -> str:
    if isinstance(error, ReportError | RefusedError | uploads.MissingUploadError):
        sentence = str(error)
        return sentence if row.filename in sentence else f"{row.filename}: {sentence}"
    if isinstance(error, SoftTimeLimitExceeded):
        return f"{row.filename}: the import took longer than CELERY_TASK_TIME_LIMIT allows."
    if isinstance(error, MemoryError):
        return f"{row.filename}: its worker got no more memory for it. `ibutsu imports retry {row.id}` tries again."
    name = type(error).__name__
    return f"{row.filename}: the import failed by a fault of the server's own ({name}); its worker's log has more."


def _load(task: Task[Any, Any], session: Session, row: Import) -> Loaded:
    now = dt.datetime.now(dt.UTC)
    reader = uploads.UploadReader(session, row.id, row.size)
    # Ids that the report lacks are derived from the import's, so that a second delivery makes the same ones.
    report = read_report(
        io.BufferedReader(reader, chunks.SIZE),
        filename=row.filename,
        run_id=uuid.uuid5(row.id, "run"),
        digest=row.sha256,
        limits=_settings().limits,
        now=now,
    )
    with Progress(task) as progress:

        def tell(results: int) -> None:
            if progress.is_due():
                read = min(reader.bytes_read, row.size)
                progress.tell(bytes_read=read, bytes_total=row.size, results=results)

        return _stored(session, row, report, now, tell)


def _stored(session: Session, row: Import, report: Report, now: dt.datetime, tell: Callable[[int], None]) -> Loaded:
    project = session.get(Project, row.project_id) if row.project_id else None
    logs.bind(project=project.name if project else None)
    loader = ReportLoader(
        session,
        project=project,
        find_project=lambda name: _find_project(session, row, name),
        form=Form(source=row.source, metadata=row.data.get("form") or {}),
        now=now,
        keeps_sources=report.format == "archive",
        progress=tell,
    )
    begun = False
    form_size = len(row.source or "") + len(json.dumps(row.data.get("form") or {}))
    most = _settings().limits.inherited_size
    for record in report:
        if isinstance(record, ResultRecord):
            loader.add_result(record)
            if loader.loaded.results * form_size > most:
                reason = f"the upload's form gives its results more than {most:,} characters"
                raise ReportError(reason, filename=row.filename, limit="inherited_size")
        elif isinstance(record, ArtifactRecord):
            loader.add_artifact(record)
        elif begun:
            loader.replace_run(record)
        else:
            loader.begin(record)
            begun = True
    loaded = loader.finish(row.id, format=report.format, data=row.data)
    if loaded is None:
        raise RefusedError(f"{row.filename}: its import was ended by another worker meanwhile.")
    return loaded


def _find_project(session: Session, row: Import, name: str | None) -> Project:
    if name is None:
        raise RefusedError(
            f"{row.filename} names no project: give one with the upload, or metadata.project in its run."
        )
    project = projects.find(session, name)
    user = session.get(User, row.user_id) if row.user_id else None
    if project is None or user is None or not projects.may_use(session, user, project):
        raise RefusedError(f"{row.filename} is for the project {name!r}, which does not exist or is not yours.")
    logs.bind(project=project.name)
    return project
