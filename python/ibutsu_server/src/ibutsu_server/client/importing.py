"""`ibutsu import`: upload reports, follow their imports to the end, and show the runs that they became."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from ibutsu_server.client.access import ClientError, find_server
from ibutsu_server.client.files import size_of
from ibutsu_server.client.following import console, follow, show
from ibutsu_server.client.server import Client


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
@click.option("--force", is_flag=True, help="Import the files even where the very same were imported before.")
@click.option("--url", help="The server; else IBUTSU_URL, else the local one that `ibutsu up` runs.")
@click.option("--token", help="The API token; better given by IBUTSU_TOKEN, which other users do not see.")
def import_command(
    files: tuple[Path, ...],
    *,
    project: str | None,
    metadata: tuple[str, ...],
    source: str | None,
    force: bool,
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
        fields["force"] = "true" if force else None
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
        self._out = console()
        # Before any file is read: the server is there, and knows the token.
        self._frontend = client.frontend()

    def run(self, path: Path) -> bool:
        """Import the file; return whether that worked."""
        name = click.format_filename(path)
        try:
            imported = self._uploaded(path)
            message = (imported.get("metadata") or {}).get("message")
            if message:
                click.echo(f"{name}: {message}", err=True)
            imported = follow(self._client, self._out, name, imported)
            show(self._client, self._out, name, imported, frontend=self._frontend)
        except ClientError as error:
            click.echo(f"{name}: {error}", err=True)
            return False
        return True

    def _uploaded(self, path: Path) -> dict[str, Any]:
        size = size_of(path)
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn())
        with Progress(
            *columns, DownloadColumn(), TransferSpeedColumn(), console=self._out, disable=not self._out.is_terminal
        ) as progress:
            task = progress.add_task(f"{path.name}: upload", total=size)
            return self._client.upload(
                path, self._fields, uploaded=lambda count: progress.update(task, completed=count)
            )
