"""The table that says what runs where, and how to get at it. The only place that prints secrets."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rich.table import Table
from rich.text import Text

from ibutsu_core.settings import DatabaseSettings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One line of the table."""

    name: str
    place: str
    pid: int | None = None


def table(parts: Iterable[Part]) -> Table:
    """Return the table of what runs where."""
    shown = Table(title="Ibutsu runs", title_justify="left", title_style="bold")
    shown.add_column("What", no_wrap=True)
    shown.add_column("Where", overflow="fold")
    shown.add_column("Process", justify="right", no_wrap=True)
    for part in parts:
        shown.add_row(part.name, part.place, str(part.pid) if part.pid else "-")
    return shown


def lines(entries: dict[str, str]) -> Iterator[Text]:
    """Return a line for each entry, never wrapped, so that it can be copied."""
    width = max(map(len, entries))
    for label, value in entries.items():
        yield Text.assemble((f"{label:<{width}}  ", "bold"), value)


def address(url: str) -> str:
    """Return the host and port of a URL, without the password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def psql_command(binaries: Path, database: DatabaseSettings) -> str:
    """Return the command that opens the database."""
    command = [str(binaries / "psql"), "-h", database.host, "-p", str(database.port)]
    command += ["-U", database.user, "-d", database.database]
    return f"PGPASSWORD={shlex.quote(database.password)} {shlex.join(command)}"


def redis_command(host: str, port: int, password: str) -> str:
    """Return the command that opens Redis, where its client is installed."""
    return f"REDISCLI_AUTH={shlex.quote(password)} redis-cli -h {host} -p {port}"
