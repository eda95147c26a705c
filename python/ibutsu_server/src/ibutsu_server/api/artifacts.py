"""Artifacts: files of runs and of results."""

from __future__ import annotations

import itertools
import mimetypes
import re
import tempfile
import unicodedata
import uuid
from collections.abc import Generator
from typing import IO, Any
from urllib.parse import quote

import flask
import sqlalchemy as sa
from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest, NotFound

from ibutsu_server.api import access, answers, multipart, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import Raw, operation
from ibutsu_server.store import artifacts
from ibutsu_server.store.models import Artifact, Result, Run

_IN_MEMORY = 512 * 1024
"""Bytes of an uploaded artifact that are kept in memory until its form is complete; more go to a temporary file."""

_TYPES = {".log": "text/plain", ".txt": "text/plain", ".json": "application/json", ".webp": "image/webp"}
_MAGIC = {
    b"\x89PNG\r\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\x1f\x8b": "application/gzip",
}


def serialise(artifact: Artifact) -> schemas.Artifact:
    """Return the artifact as the contract has it."""
    return schemas.Artifact.model_validate(artifact)


@api.get("/artifact")
@operation(query=schemas.ArtifactQuery, answers={200: schemas.Artifacts})
def get_artifacts(query: schemas.ArtifactQuery) -> flask.Response:
    """List the artifacts of a run or of a result, in the order of their arrival."""
    owners = ((query.resultId, Artifact.result_id, Result), (query.runId, Artifact.run_id, Run))
    where = [column == owner_id for owner_id, column, _owner in owners if owner_id]
    if not access.user().is_superadmin:
        # For the few artifacts of a page it is quicker to look at their owners than to look for all owners first.
        owned = [sa.exists().where(owner.id == column, access.visible(owner.project_id)) for _, column, owner in owners]
        where.append(sa.or_(*owned))
    return answers.page("artifacts", Artifact, serialise, query, where=where, order=[Artifact.id.asc()])


@api.post("/artifact")
@operation(form=schemas.ArtifactForm, answers={201: schemas.Artifact}, errors=(403, 404))
def add_artifact() -> flask.Response:
    """Store a file of a run or of a result."""
    fields: dict[str, str] = {}
    additional = None
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        found = False
        for part in multipart.parts(flask.request, "The artifact", "artifact_size"):
            if part.name == "file" and part.filename is not None:
                found = True
                for chunk in part.stored("The artifact", "artifact_size"):
                    file.write(chunk)
            elif part.name == "additionalMetadata":
                additional = part.json_object()
            elif part.name in ("filename", "resultId", "runId"):
                fields[part.name] = part.text()
        if not found:
            raise BadRequest("The form has no part `file`.")
        return _stored(fields, additional, file)


def _stored(fields: dict[str, str], additional: dict[str, Any] | None, file: IO[bytes]) -> flask.Response:
    if not fields.get("filename"):
        raise BadRequest("The form has no `filename`.")
    result_id, run_id = (
        access.uuid_of(fields[name], name) if fields.get(name) else None for name in ("resultId", "runId")
    )
    if (result_id is None) == (run_id is None):
        raise BadRequest("The form needs either `resultId` or `runId`.")
    _require_owner(result_id, run_id)
    session = access.session()
    file.seek(0)
    artifact = artifacts.write(
        session,
        iter(lambda: file.read(multipart.CHUNK), b""),
        filename=fields["filename"],
        run_id=run_id,
        result_id=result_id,
        additional_metadata=additional,
    )
    session.commit()
    return answers.one(serialise(artifact), 201)


@api.get("/artifact/<artifact_id>")
@operation(answers={200: schemas.Artifact}, errors=(403, 404))
def get_artifact(artifact_id: str) -> flask.Response:
    """Answer with one artifact, without its bytes."""
    return answers.one(serialise(_readable(artifact_id)))


@api.get("/artifact/<artifact_id>/download")
@operation(answers={200: Raw("*/*")}, errors=(403, 404))
def download_artifact(artifact_id: str) -> flask.Response:
    """Answer with the bytes, to be saved under the artifact's name."""
    artifact = _readable(artifact_id)
    response = _content(artifact)
    response.headers["Content-Disposition"] = disposition(artifact.filename)
    return response


@api.get("/artifact/<artifact_id>/view")
@operation(answers={200: Raw("*/*")}, errors=(403, 404))
def view_artifact(artifact_id: str) -> flask.Response:
    """Answer with the bytes, to be shown."""
    return _content(_readable(artifact_id))


@api.delete("/artifact/<artifact_id>")
@operation(answers={200: schemas.Message}, errors=(403, 404))
def delete_artifact(artifact_id: str) -> flask.Response:
    """Delete the artifact and its bytes."""
    artifact = _readable(artifact_id)
    access.session().execute(sa.delete(Artifact).where(Artifact.id == artifact.id))
    access.session().commit()
    return answers.message("The artifact is deleted.")


def disposition(filename: str) -> str:
    """Return the Content-Disposition of a download; any name gives a valid header."""
    plain = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    plain = re.sub(r'[\x00-\x1f\x7f"\\]', "_", plain) or "artifact"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def content_type(filename: str, start: bytes) -> str:
    """Return the type of a file by its name, else by its first bytes."""
    ending = re.search(r"\.[^.]*$", filename.lower())
    found = _TYPES.get(ending.group()) if ending else None
    kind, encoding = mimetypes.guess_type(filename.replace(":", "_"), strict=False)
    found = found or ("application/gzip" if encoding == "gzip" else None if encoding else kind)
    found = found or next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if found is None:
        try:
            # The first bytes may end within a character.
            start.decode() if len(start) < 4 else start[:-3].decode("utf-8", "strict")
            found = "application/octet-stream" if b"\x00" in start else "text/plain"
        except UnicodeDecodeError:
            found = "application/octet-stream"
    return f"{found}; charset=utf-8" if found.startswith("text/") else found


def _content(artifact: Artifact) -> flask.Response:
    chunks = _stream(flask.current_app.extensions["ibutsu_engine"], artifact.id)
    # The first piece is read here, while an error can still have a status of its own.
    start = next(chunks, b"")
    if artifact.size and not start:
        # Retention deletes the contents of a month at once, and the artifacts in batches after it.
        raise NotFound(f"The content of the artifact {artifact.id} is deleted: it was older than content is kept.")
    response = flask.Response(
        itertools.chain((start,), chunks),
        headers={
            "Content-Length": str(artifact.size),
            # What people upload must not act in the name of whoever looks at it.
            "Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        },
    )
    response.headers["Content-Type"] = content_type(artifact.filename, start[:4096])
    response.call_on_close(chunks.close)
    return response


def _stream(engine: sa.Engine, artifact_id: uuid.UUID) -> Generator[bytes, None, None]:
    """Yield the bytes in a session of their own: the request's is given back before the answer is written."""
    with Session(engine) as session:
        for chunk in artifacts.chunks_of(session, artifact_id):
            # A slow client must not keep a connection while it reads.
            session.rollback()
            yield chunk


def _readable(artifact_id: str) -> Artifact:
    artifact = access.find(Artifact, artifact_id, "artifact")
    _require_owner(artifact.result_id, artifact.run_id)
    return artifact


def _require_owner(result_id: uuid.UUID | None, run_id: uuid.UUID | None) -> None:
    owner: Result | Run
    if result_id is not None:
        owner = access.find(Result, str(result_id), "result")
    else:
        owner = access.find(Run, str(run_id), "run")
    access.require_project(owner.project_id)
