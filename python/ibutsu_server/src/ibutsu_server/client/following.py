"""Imports on the server: followed to their end, and the runs that they became, shown."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table

from ibutsu_server.client.access import ClientError
from ibutsu_server.client.server import Client, UnavailableError

FIRST_POLL = 0.1
SLOWEST_POLL = 1.0
PATIENCE = 60
"""Seconds; the last is how long an import is followed while its server does not answer."""

WAITING = 10
"""Seconds after which it is said that no worker has taken the import yet."""

COUNTS = ("tests", "passes", "failures", "errors", "skips", "xfailures", "xpasses")


def console() -> Console:
    """Return the console that texts are printed on as they are."""
    return Console(highlight=False, markup=False, soft_wrap=True)


def follow(client: Client, out: Console, name: str, imported: dict[str, Any]) -> dict[str, Any]:
    """Ask for the import until it has ended, ever more slowly, and show how far it is; return it.

    `name` is what the user calls it. Raises ClientError when the server is away for too long.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        try:
            return _followed(client, name, imported, progress)
        except KeyboardInterrupt:
            click.echo(f"The import {imported['id']} goes on on the server.", err=True)
            raise


def _followed(client: Client, name: str, imported: dict[str, Any], progress: Progress) -> dict[str, Any]:
    task = progress.add_task(f"{name}: import", total=None)
    begun = answered = time.monotonic()
    said, pause = False, FIRST_POLL
    while imported["status"] in ("pending", "running"):
        time.sleep(pause)
        pause = min(pause * 1.3, SLOWEST_POLL)
        try:
            imported = client.get_import(imported["id"])
            answered = time.monotonic()
        except UnavailableError:
            if time.monotonic() - answered > PATIENCE:
                raise
            continue
        if imported["status"] == "pending" and not said and time.monotonic() - begun > WAITING:
            reason = imported.get("error") or "no worker has taken the import yet; waiting."
            click.echo(f"{name}: {reason}", err=True)
            said = True
        told = (imported.get("metadata") or {}).get("progress")
        if told:
            description = f"{name}: {told['results']} results stored"
            progress.update(task, description=description, completed=told["bytes_read"], total=told["bytes_total"])
    progress.update(task, description=f"{name}: import", total=1, completed=1)
    return imported


def show(client: Client, out: Console, name: str, imported: dict[str, Any], *, frontend: str) -> None:
    """Show the run that the import became; raise ClientError with the server's reason when it failed."""
    if imported["status"] != "done":
        raise ClientError(imported.get("error") or "The import failed, and the server does not say why.")
    run = client.get_run(imported["run_id"])
    summary = run.get("summary") or {}
    lines = {count: str(summary.get(count, 0)) for count in COUNTS}
    lines |= {"pass %": str(summary.get("pass_percent", 0)), "duration": f"{run.get('duration') or 0:.2f} s"}
    if out.is_terminal:
        table = Table(title=name, title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        for label, value in lines.items():
            table.add_row(label, value)
        out.print(table)
    else:
        out.print(f"{name}: imported")
        for label, value in lines.items():
            out.print(f"  {label:<10}{value:>12}")
    for note in (imported.get("metadata") or {}).get("notes") or ():
        out.print(f"  {note}")
    out.print(f"  {frontend}/project/{run['project_id']}/runs/{run['id']}")
