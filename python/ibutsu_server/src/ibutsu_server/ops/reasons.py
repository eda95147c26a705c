"""Why PostgreSQL or Redis did not let a process in, told from what their drivers say. It holds no secret."""

from __future__ import annotations

import dataclasses
import re

TIMEOUT = 2
"""Seconds to connect, and again to wait for an answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """A reason: `kind` is for programs, `sentence` goes on from the server's name."""

    kind: str
    sentence: str


_NO_NAME = r"could not translate host name|[Nn]ame or service not known|name resolution|No address associated"
_SILENT = r"[Tt]imed? ?out|Timeout|timeout expired"

# What the drivers say, in English, and what it means; the first that matches holds.
_DATABASE = (
    (r"password authentication failed|no password supplied|role .* (does not exist|is not permitted)|pg_hba\.conf",
     "credentials", "refuses the user or the password; see POSTGRESQL_USER and POSTGRESQL_PASSWORD"),
    (r"database .* does not exist", "database", "has no database of the name in POSTGRESQL_DATABASE"),
    (r"too many (clients|connections)|connection slots", "connections",
     "has no connection left; see its max_connections"),
    (r"permission denied|InsufficientPrivilege", "permission", "forbids the user to read the tables"),
    (r"No space left|Disk quota|DiskFull", "disk", "has no space left on its disk"),
    (r"starting up|shutting down|recovery", "starting", "is starting or stopping"),
    (_NO_NAME, "name", "cannot be found; see POSTGRESQL_HOST"),
    (r"[Cc]onnection refused|No such file or directory", "refused", "does not run there: the connection is refused"),
    (r"No route to host|[Nn]etwork is unreachable", "network", "cannot be reached: there is no way to its network"),
    (_SILENT, "timeout", f"does not answer within {TIMEOUT} s"),
    (r"closed the connection", "closed", "closed the connection"),
)  # fmt: skip

_BROKER = (
    (r"AuthenticationError|WRONGPASS|NOAUTH|invalid username-password", "credentials", "refuses the password"),
    (r"LOADING|loading the dataset", "loading", "is loading its data"),
    (r"MISCONF", "disk", "cannot write to its disk"),
    (r"READONLY|ReadOnlyError", "read-only", "takes no writes: it is a replica"),
    (r"OutOfMemory|OOM command", "memory",
     "takes no writes: its memory is full; see its maxmemory, and CELERY_RESULT_EXPIRES"),
    (r"max number of clients", "connections", "has no connection left; see its maxclients"),
    (r"NoPermission|NOPERM", "permission", "forbids its user what the task queue needs"),
    (_NO_NAME, "name", "cannot be found; is its name right?"),
    (r"refused", "refused", "does not run there: the connection is refused"),
    (r"No route to host|[Nn]etwork is unreachable", "network", "cannot be reached: there is no way to its network"),
    (_SILENT, "timeout", f"does not answer within {TIMEOUT} s"),
)  # fmt: skip


def of_database(error: Exception) -> Reason:
    """Return why PostgreSQL did not do what was asked."""
    return _of(error, _DATABASE)


def of_broker(error: Exception) -> Reason:
    """Return why Redis did not do what was asked."""
    return _of(error, _BROKER)


def _of(error: Exception, known: tuple[tuple[str, str, str], ...]) -> Reason:
    text = f"{type(error).__name__}: {error}"
    for pattern, kind, sentence in known:
        if re.search(pattern, text):
            return Reason(kind, sentence)
    return Reason("unknown", f"does not answer ({type(error).__name__})")
