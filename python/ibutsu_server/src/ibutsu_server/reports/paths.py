"""The names of an archive's members, which are never trusted."""

from __future__ import annotations

from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.limits import Limits


def safe_parts(name: str, limits: Limits) -> tuple[str, ...]:
    """The parts of a member's path, or a refusal if it is absolute or climbs."""
    if len(name) > limits.path_length:
        raise ReportError(
            f"its path is longer than {limits.path_length:,} characters", limit="path_length", member=name
        )
    slashed = name.replace("\\", "/")
    if slashed.startswith("/") or slashed[1:2] == ":":
        raise ReportError("its path is absolute, which is refused", member=name)
    if ".." in slashed.split("/"):
        raise ReportError("its path climbs out of the archive (..), which is refused", member=name)
    return tuple(part for part in name.split("/") if part not in {"", "."})
