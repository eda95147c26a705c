"""What is asked of the server itself."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from ibutsu_server.api.schemas.common import In, Instant, Out, Pagination


class Health(Out):
    """Whether something works."""

    status: Literal["OK", "Error"]
    message: str


class HealthInfo(Out):
    """The addresses that people use."""

    frontend: str
    backend: str
    api_ui: str


class RunTask(In):
    """The body of `POST /admin/run-task`."""

    token: str | None = None
    task: str | None = None
    params: dict[str, Any] | None = None


class Maintenance(Out):
    """A slot of a periodic task, or such a task sent without one, and what it did. `error` says why it failed.

    A slot is `skipped` where its entry was new, and `waiting` where it is to be tried again, or continued: `parts` of
    it are done.
    """

    id: uuid.UUID
    entry: str | None
    task: str
    slot: Instant | None
    status: Literal["skipped", "waiting", "running", "done", "error"]
    sent: Instant | None
    started: Instant | None
    finished: Instant | None
    worker: str | None
    attempts: int
    parts: int
    counts: dict[str, int | float] | None
    bytes: int | None
    error: str | None


class MaintenanceList(Out):
    """A page of the ledger of maintenance."""

    maintenance: list[Maintenance]
    pagination: Pagination
