"""`ibutsu import`: upload reports, follow their imports to the end, and show the runs that they became."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from ibutsu_server.client.access import ClientError, find_server
from ibutsu_server.client.files import size_of
from ibutsu_server.client.server import Client, UnavailableError

FIRST_POLL = 0.1
SLOWEST_POLL = 1.0
PATIENCE = 60
"""Seconds; the last is how long an import is followed while its server does not answer."""

WAITING = 10
"""Seconds after which it is said that no worker has taken the import yet."""

COUNTS = ("tests", "passes", "failures", "errors", "skips", "xfailures", "xpasses")


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--project", help="Project, by name or id; wins over the one in the file.")
@click.option(
    "--metadata",
    multiple=True,
    metavar="KEY=VALUE",
    help="Metadata for the run and its results, as often as needed. Dots nest: jenkins.build_number=7.",
)
@click.option("--source", help="Source of the run.")
@click.option("--url", help="The server; else IBUTSU_URL, else the local one that `ibutsu up` runs.")
@click.option("--token", help="The API token; better given by IBUTSU_TOKEN, which other users do not see.")
def import_command(
    files: tuple[Path, ...],
    *,
    project: str | None,
    metadata: tuple[str, ...],
    source: str | None,
    url: str | None,
    token: str | None,
) -> None:
    """Upload test reports and show the runs that they become.

    FILES are JUnit XML or Ibutsu archives. The exit code is 1 when any of them could not be imported.
    """
    nested = parse_metadata(metadata)
    try:
        server = find_server(url, token, os.environ, Path.cwd())
        fields = {"project": project or server.project, "source": source}
        fields["metadata"] = json.dumps(nested) if nested else None
        with Client(server) as client:
            importer = Importer(client, {name: text for name, text in fields.items() if text})
            done = [importer.run(path) for path in files]
    except ClientError as error:
        raise click.ClickException(str(error)) from error
    if not all(done):
        raise SystemExit(1)


MAX_NESTING = 50
"""Levels that a key of the metadata may nest."""


def parse_metadata(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the metadata that KEY=VALUE pairs say; the values are texts, and dots in a key nest."""
    nested: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        *parents, last = key.split(".")
        if len(parents) > MAX_NESTING:
            raise click.BadParameter(f"{pair[:40]!r}… nests deeper than {MAX_NESTING} keys.", param_hint="--metadata")
        if not separator or not all((*parents, last)):
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE.", param_hint="--metadata")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise click.BadParameter(f"{pair!r} nests in a key that has a value.", param_hint="--metadata")
        if last in place:
            raise click.BadParameter(f"{key!r} is given twice.", param_hint="--metadata")
        place[last] = value
    return nested


class Importer:
    """Imports one file after the other, and says what becomes of each."""

    def __init__(self, client: Client, fields: dict[str, str]) -> None:
        self._client = client
        self._fields = fields
        self._out = Console(highlight=False, markup=False, soft_wrap=True)
        # Before any file is read: the server is there, and knows the token.
        self._frontend = client.frontend()

    def run(self, path: Path) -> bool:
        """Import the file; return whether that worked."""
        try:
            imported = self._imported(path)
            self._show(path, imported)
        except ClientError as error:
            click.echo(f"{click.format_filename(path)}: {error}", err=True)
            return False
        return True

    def _imported(self, path: Path) -> dict[str, Any]:
        size = size_of(path)
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn())
        with Progress(
            *columns, DownloadColumn(), TransferSpeedColumn(), console=self._out, disable=not self._out.is_terminal
        ) as progress:
            task = progress.add_task(f"{path.name}: upload", total=size)
            imported = self._client.upload(
                path, self._fields, uploaded=lambda count: progress.update(task, completed=count)
            )
        message = (imported.get("metadata") or {}).get("message")
        if message:
            click.echo(f"{click.format_filename(path)}: {message}", err=True)
        with Progress(*columns, TaskProgressColumn(), console=self._out, disable=not self._out.is_terminal) as progress:
            try:
                return self._followed(path, imported, progress)
            except KeyboardInterrupt:
                click.echo(f"The import {imported['id']} goes on on the server.", err=True)
                raise

    def _followed(self, path: Path, imported: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Ask for the import until it has ended, ever more slowly; return it."""
        task = progress.add_task(f"{path.name}: import", total=None)
        begun = answered = time.monotonic()
        said, pause = False, FIRST_POLL
        while imported["status"] in ("pending", "running"):
            time.sleep(pause)
            pause = min(pause * 1.3, SLOWEST_POLL)
            try:
                imported = self._client.get_import(imported["id"])
                answered = time.monotonic()
            except UnavailableError:
                if time.monotonic() - answered > PATIENCE:
                    raise
                continue
            if imported["status"] == "pending" and not said and time.monotonic() - begun > WAITING:
                click.echo(f"{click.format_filename(path)}: no worker has taken the import yet; waiting.", err=True)
                said = True
            told = (imported.get("metadata") or {}).get("progress")
            if told:
                description = f"{path.name}: {told['results']} results stored"
                progress.update(task, description=description, completed=told["bytes_read"], total=told["bytes_total"])
        progress.update(task, description=f"{path.name}: import", total=1, completed=1)
        return imported

    def _show(self, path: Path, imported: dict[str, Any]) -> None:
        if imported["status"] != "done":
            raise ClientError(imported.get("error") or "The import failed, and the server does not say why.")
        run = self._client.get_run(imported["run_id"])
        summary = run.get("summary") or {}
        lines = {name: str(summary.get(name, 0)) for name in COUNTS}
        lines |= {"pass %": str(summary.get("pass_percent", 0)), "duration": f"{run.get('duration') or 0:.2f} s"}
        if self._out.is_terminal:
            table = Table(title=path.name, title_justify="left", show_header=False)
            table.add_column()
            table.add_column(justify="right")
            for name, value in lines.items():
                table.add_row(name, value)
            self._out.print(table)
        else:
            self._out.print(f"{click.format_filename(path)}: imported")
            for name, value in lines.items():
                self._out.print(f"  {name:<10}{value:>12}")
        for note in (imported.get("metadata") or {}).get("notes") or ():
            self._out.print(f"  {note}")
        self._out.print(f"  {self._frontend}/project/{run['project_id']}/runs/{run['id']}")
