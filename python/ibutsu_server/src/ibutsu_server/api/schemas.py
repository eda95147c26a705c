"""The objects of the contract: `…In` is what a client sends, the others are what it gets."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints

Outcome = Literal["passed", "failed", "error", "skipped", "xpassed", "xfailed", "manual", "blocked"]
Status = Literal["pending", "running", "done", "error"]


def _text(value: object) -> object:
    if not isinstance(value, str | dt.datetime):
        raise ValueError("Input should be a time in ISO 8601, as a string")  # noqa: TRY004 - pydantic's form
    return value


def _utc(value: dt.datetime) -> dt.datetime:
    try:
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("Input should be a time in the years 1 to 9999") from error


Instant = Annotated[dt.datetime, BeforeValidator(_text), AfterValidator(_utc)]
Text = Annotated[str, Strict()]
Name = Annotated[str, Strict(), StringConstraints(min_length=1, max_length=255)]
# The sum of all durations of a run must fit too.
Seconds = Annotated[float, Strict(), Field(ge=-1e12, le=1e12, allow_inf_nan=False)]


class In(BaseModel):
    """What a client sends; unknown keys are ignored, and null counts as absent."""

    model_config = ConfigDict(extra="ignore")

    def given(self, *names: str) -> dict[str, Any]:
        """Return those of the named fields that were sent and are not null."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Out(BaseModel):
    """What a client gets, made from a row."""

    model_config = ConfigDict(from_attributes=True)


class Pagination(Out):
    """Which part of a list an answer holds."""

    page: int
    pageSize: int  # noqa: N815 - the contract's name
    totalItems: int  # noqa: N815
    totalPages: int  # noqa: N815


class Login(In):
    """The body of `POST /login`."""

    email: Text
    password: Text


class User(Out):
    """A user, without what is secret."""

    id: uuid.UUID
    email: str
    name: str | None
    is_superadmin: bool
    is_active: bool
    group_id: uuid.UUID | None


class UserIn(In):
    """What users may change of themselves."""

    name: Name | None = None
    email: Name | None = None


class Token(Out):
    """An API token, with its bearer text."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    token: str
    expires: Instant


class TokenIn(In):
    """The body of `POST /user/token`."""

    name: Name
    expires: Instant | None = None


class Project(Out):
    """A project."""

    id: uuid.UUID
    name: str
    title: str | None
    owner_id: uuid.UUID | None
    group_id: uuid.UUID | None


class ProjectIn(In):
    """A project as a client sends it; all is optional in an update."""

    id: uuid.UUID | None = None
    name: Name | None = None
    title: Text | None = None
    group_id: uuid.UUID | None = None
    users: list[Text] | None = None


class Run(Out):
    """A run of tests."""

    id: uuid.UUID
    created: Instant
    start_time: Instant | None
    duration: float | None
    source: str | None
    component: str | None
    env: str | None
    project_id: uuid.UUID | None
    summary: dict[str, Any] | None
    metadata: dict[str, Any] = Field(validation_alias="data")


class RunIn(In):
    """A run as a client sends it."""

    id: uuid.UUID | None = None
    created: Instant | None = None
    start_time: Instant | None = None
    duration: Seconds | None = None
    source: Text | None = None
    component: Text | None = None
    env: Text | None = None
    project_id: uuid.UUID | None = None
    summary: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class Result(Out):
    """One test's result."""

    id: uuid.UUID
    test_id: str | None
    start_time: Instant | None
    duration: float | None
    result: Outcome | None
    component: str | None
    env: str | None
    source: str | None
    run_id: uuid.UUID | None
    project_id: uuid.UUID | None
    metadata: dict[str, Any] = Field(validation_alias="data")
    params: dict[str, Any] | None


class ResultIn(In):
    """A result as a client sends it."""

    id: uuid.UUID | None = None
    test_id: Text | None = None
    start_time: Instant | None = None
    duration: Seconds | None = None
    result: Outcome | None = None
    component: Text | None = None
    env: Text | None = None
    source: Text | None = None
    run_id: uuid.UUID | None = None
    project_id: uuid.UUID | None = None
    metadata: dict[str, Any] | None = None
    params: dict[str, Any] | None = None


class Artifact(Out):
    """A file of a run or of a result, without its bytes."""

    id: uuid.UUID
    result_id: uuid.UUID | None
    run_id: uuid.UUID | None
    filename: str
    additional_metadata: dict[str, Any]
    upload_date: Instant
    size: int


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
    notes: list[str] = []
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
