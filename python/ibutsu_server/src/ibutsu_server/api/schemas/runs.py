"""Runs, results, and the tasks that make large pages of them."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import Field

from ibutsu_server.api.schemas.common import FilterQuery, In, Instant, Out, Pagination, Seconds, Text

Outcome = Literal["passed", "failed", "error", "skipped", "xpassed", "xfailed", "manual", "blocked"]


class ListQuery(FilterQuery):
    """Which part of a list of runs or results is asked for."""

    estimate: bool = Field(False, description="Whether `totalItems` may be approximate.")


class BulkQuery(In):
    """Which runs are updated: the newest `pageSize` that the filters match."""

    filter: list[str] = Field([], description="`<field><operator><value>`; all must hold.")
    pageSize: int = Field(1, ge=1, le=2**31 - 1, description="Runs at most; more than 25 are refused.")  # noqa: N815


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
    pinned: bool


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


class BulkUpdate(In):
    """The body of `POST /runs/bulk-update`."""

    metadata: dict[str, Any] | None = None


class Runs(Out):
    """A page of runs."""

    runs: list[Run]
    pagination: Pagination


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


class Results(Out):
    """A page of results."""

    results: list[Result]
    pagination: Pagination


class TaskStarted(Out):
    """That a page is made by a task, and where to ask for it."""

    task_id: uuid.UUID
    message: str
    query_endpoint: str


class TaskState(Out):
    """How far a task is."""

    state: str
    message: str


class TaskFailure(TaskState):
    """That a task failed, and why."""

    error: list[str]


class TaskRuns(TaskState):
    """The page of runs that a task made."""

    runs: list[Run]
    pagination: Pagination


class TaskResults(TaskState):
    """The page of results that a task made."""

    results: list[Result]
    pagination: Pagination
