"""What a check found."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable


class Status(enum.StrEnum):
    """How good it is, the best first; `skipped` is what could not be looked at, and spoils nothing."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILURE = "failure"


EXIT_CODES = {Status.OK: 0, Status.SKIPPED: 0, Status.WARNING: 1, Status.FAILURE: 2}
"""As monitoring plugins have them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report. What is not ok has its likely `cause`, and a command, `mend`, where there is one."""

    check: str
    status: Status
    message: str
    cause: str | None = None
    mend: str | None = None


def worst(findings: Iterable[Finding]) -> Status:
    """Return the worst status of all; skipped checks are as good as none."""
    order = list(Status)
    found = max((finding.status for finding in findings), key=order.index, default=Status.OK)
    return Status.OK if found is Status.SKIPPED else found


def ok(check: str, message: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, status=Status.OK, message=message)


def skipped(check: str, message: str, mend: str | None = None) -> Finding:
    """Return that this was not looked at, and why."""
    return Finding(check=check, status=Status.SKIPPED, message=message, mend=mend)


def warning(check: str, message: str, cause: str, mend: str | None = None) -> Finding:
    """Return that something is not as it should be, but the system works."""
    return Finding(check=check, status=Status.WARNING, message=message, cause=cause, mend=mend)


def failure(check: str, message: str, cause: str, mend: str | None = None) -> Finding:
    """Return that something does not work."""
    return Finding(check=check, status=Status.FAILURE, message=message, cause=cause, mend=mend)
