"""Files: artifacts and imports."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import Field

from ibutsu_server.api.schemas.common import Absent, In, Instant, Out, PageQuery, Pagination, Upload

Status = Literal["pending", "running", "done", "error"]


class ArtifactQuery(PageQuery):
    """Whose artifacts are asked for."""

    resultId: uuid.UUID | Absent = None  # noqa: N815
    runId: uuid.UUID | Absent = None  # noqa: N815


class Artifact(Out):
    """A file of a run or of a result, without its bytes."""

    id: uuid.UUID
    result_id: uuid.UUID | None
    run_id: uuid.UUID | None
    filename: str
    additional_metadata: dict[str, Any]
    upload_date: Instant
    size: int


class ArtifactForm(In):
    """A file of a run or of a result: exactly one of `resultId` and `runId` is given."""

    file: Upload
    filename: str
    resultId: uuid.UUID | Absent = None  # noqa: N815
    runId: uuid.UUID | Absent = None  # noqa: N815
    additionalMetadata: str | Absent = Field(None, description="A JSON object.")  # noqa: N815


class Artifacts(Out):
    """A page of artifacts."""

    artifacts: list[Artifact]
    pagination: Pagination


class ImportForm(In):
    """An upload. `project` is a name or an id."""

    importFile: Upload  # noqa: N815
    project: str | Absent = None
    metadata: str | Absent = Field(None, description="A JSON object, merged over that of the run and of each result.")
    source: str | Absent = None
    force: str | Absent = Field(None, description="Whether the same bytes are imported once more.")


class Progress(Out):
    """How far a running import is. Sizes are in bytes."""

    bytes_read: int
    bytes_total: int
    results: int


class ImportMetadata(Out):
    """What web clients and scripts read of an import. `message` is a sentence for the user, so is each note."""

    run_id: list[uuid.UUID]
    project_id: uuid.UUID | None
    message: str | None = None
    notes: list[str] = Field([])
    progress: Progress | None = None


class Import(Out):
    """An upload and what became of it; `error` says why it, or its last attempt, failed. `size` is in bytes."""

    id: uuid.UUID
    status: Status
    filename: str
    format: str
    run_id: uuid.UUID | None
    project_id: uuid.UUID | None
    source: str | None
    size: int
    attempts: int
    error: str | None
    created: Instant
    finished: Instant | None
    metadata: ImportMetadata


class Imports(Out):
    """A page of imports."""

    imports: list[Import]
    pagination: Pagination
