"""What is asked of the server itself."""

from __future__ import annotations

from typing import Any, Literal

from ibutsu_server.api.schemas.common import In, Out


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
