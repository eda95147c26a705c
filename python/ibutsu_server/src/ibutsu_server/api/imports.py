"""Imports: an upload is stored here, and turned into a run by a worker.

The name of a file does not decide whether it is accepted: the worker tells the format by the contents.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

import flask
import pydantic
from werkzeug.exceptions import BadRequest, Conflict

from ibutsu_core import logs
from ibutsu_server.api import access, answers, bodies, filters, multipart, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.broker import broker
from ibutsu_server.api.operations import operation
from ibutsu_server.reports.values import uuid_in
from ibutsu_server.store import uploads
from ibutsu_server.store.models import Import

TASK = "ibutsu_server.tasks.importers.import_results"

KNOWN = "These bytes were uploaded before, and this is their import; send force=true to import them once more."

_FORMATS = {".xml": "junit", ".tar.gz": "archive", ".tgz": "archive", ".tar": "archive", ".zip": "zip", ".gz": "gzip"}


def serialise(row: Import, *, message: str | None = None, progress: dict[str, Any] | None = None) -> schemas.Import:
    """Return the import as the contract has it."""
    metadata = schemas.ImportMetadata(
        run_id=[row.run_id] if row.run_id else [],
        project_id=row.project_id,
        message=message or row.error,
        notes=row.data.get("notes") or [],
    )
    with contextlib.suppress(pydantic.ValidationError):
        metadata.progress = schemas.Progress.model_validate(progress) if progress else None
    return schemas.Import(
        **{name: getattr(row, name) for name in schemas.Import.model_fields if name != "metadata"}, metadata=metadata
    )


def format_of(filename: str) -> str:
    """Return the format that the file's name promises."""
    return next((kind for ending, kind in _FORMATS.items() if filename.lower().endswith(ending)), "unknown")


@api.get("/import")
@operation(query=schemas.FilterQuery, answers={200: schemas.Imports})
def get_imports(query: schemas.FilterQuery) -> flask.Response:
    """List the imports that the user may see, newest first."""
    return answers.page(
        "imports",
        Import,
        serialise,
        query,
        where=[access.visible_or_own(Import), *filters.conditions(Import, query.filter)],
        order=[Import.created.desc(), Import.id.desc()],
    )


@api.get("/import/<import_id>")
@operation(answers={200: schemas.Import}, errors=(403, 404))
def get_import(import_id: str) -> flask.Response:
    """Answer with one import, and how far it is while it runs."""
    row = access.find_visible(Import, import_id, "import")
    progress = None
    if row.status == "pending" and row.sent is None:
        # Its message could not be sent when it was uploaded; whoever asks for it need not wait for the repair.
        _send(row)
    elif row.status == "running":
        access.session().rollback()
        progress = broker().progress(row.id)
    return answers.one(serialise(row, progress=progress))


@api.post("/import")
@operation(form=schemas.ImportForm, answers={201: schemas.Import}, errors=(403,))
def add_import() -> flask.Response:
    """Store the upload as it arrives, in one transaction, and then send its task.

    The other fields may come before the file or after it. An upload that is refused or cut off leaves nothing. One
    that says the same as another, which is imported or waits to be, answers with that one's import and leaves
    nothing either, unless the form has `force`.
    """
    session = access.session()
    row: Import | None = None
    given: dict[str, Any] = {}
    force = False
    for part in multipart.parts(flask.request, "The upload", "upload_size"):
        if part.name == "importFile" and part.filename:
            if row is not None:
                raise BadRequest("The form has more than one file; send one import for each.")
            row = _upload(part)
        elif part.name == "project" and (name := part.text()):
            given["project_id"] = access.project_named(name).id
        elif part.name == "metadata" and (form := part.json_object()) is not None:
            given["data"] = {"form": form}
        elif part.name == "source" and (source := part.text()):
            given["source"] = source
        elif part.name == "force":
            force = bodies.boolean(part.text(), "field `force`")
    if row is None:
        raise BadRequest("The form has no file `importFile`.")
    for name, value in given.items():
        setattr(row, name, value)
    row.fingerprint = uploads.fingerprint(row, uuid_in(row.filename))
    known = uploads.same_as(session, row)
    message = None
    if known is not None and not force:
        session.rollback()
        row = access.find(Import, str(known.id), "import")
        message = KNOWN
    session.commit()
    if row.status == "pending" and row.sent is None and not _send(row):
        message = "The upload is stored, but the task queue does not answer; the import starts when it is back."
    return answers.one(serialise(row, message=message), 201)


@api.post("/import/<import_id>/retry")
@operation(answers={200: schemas.Import}, errors=(403, 404, 409))
def retry_import(import_id: str) -> flask.Response:
    """Import a failed upload again: what was wrong may have been mended on the server.

    One that waits has its task sent once more, which does no harm: its message may have been lost with Redis.
    """
    row = access.find_visible(Import, import_id, "import")
    known = uploads.same_as(access.session(), row) if row.status == "error" and row.fingerprint else None
    if known is not None:
        raise Conflict(f"The same upload was sent again since, and is the import {known.id}, which is {known.status}.")
    if row.status != "pending" and not uploads.retry(access.session(), row.id):
        why = "its upload is no longer stored" if row.status == "error" else f"it is {row.status}, not failed"
        raise Conflict(f"The import {row.id} cannot be tried again: {why}.")
    access.session().commit()
    access.session().refresh(row)
    message = None if _send(row) else "The task queue does not answer; the import starts when it is back."
    return answers.one(serialise(row, message=message))


def _send(row: Import) -> bool:
    logs.bind(import_id=row.id)
    session = access.session()
    session.commit()
    sent = broker().send(TASK, [str(row.id)], row.id)
    if sent:
        uploads.mark_sent(session, row.id)
        session.commit()
    return sent


def _upload(part: multipart.Part) -> Import:
    session = access.session()
    # Some browsers send the whole path.
    filename = (part.filename or "").replace("\\", "/").rpartition("/")[2] or "upload"
    row = Import(
        id=uuid.uuid4(),
        filename=filename,
        format=format_of(filename),
        size=0,
        sha256="",
        user_id=access.user().id,
        data={},
    )
    session.add(row)
    session.flush()
    with uploads.UploadWriter(session, row.id) as writer:
        writer.writelines(part.stored("The upload", "upload_size"))
    row.size, row.sha256 = writer.size, writer.sha256
    return row
