"""`ibutsu imports`: what became of uploads, and those that failed, tried again."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from ibutsu_server.client.access import ClientError
from ibutsu_server.client.connection import check_ids, connected
from ibutsu_server.client.following import console, follow, show
from ibutsu_server.client.server import Client

STATUSES = ("pending", "running", "done", "error")


@click.group()
@click.option("--url", help="The server; else IBUTSU_URL, else the local one that `ibutsu up` runs.")
@click.option("--token", help="The API token; better given by IBUTSU_TOKEN, which other users do not see.")
@click.pass_context
def imports(context: click.Context, url: str | None, token: str | None) -> None:
    """See what became of uploads, and try failed ones again."""
    context.obj = (url, token)


@imports.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only those with this status.")
@click.option("--count", type=click.IntRange(1, 500), default=25, show_default=True, help="How many, at most.")
@click.pass_obj
def list_imports(access: tuple[str | None, str | None], *, status: str | None, count: int) -> None:
    """List imports, the newest first."""
    with connected(access) as client:
        found = client.get_imports(status=status, count=count)
    out = console()
    if not out.is_terminal:
        for one in found:
            click.echo("\t".join((*_cells(one), _explained(one))))
        return
    table = Table("Id", "Status", "File", "Created", "Run or reason")
    for one in found:
        table.add_row(*_cells(one), _explained(one))
    out.print(table)


@imports.command("retry")
@click.argument("import_ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def retry(access: tuple[str | None, str | None], *, import_ids: tuple[str, ...]) -> None:
    """Import failed uploads again, from the bytes that the server has, and show the runs that they become.

    The exit code is 1 when any of them could not be imported.
    """
    check_ids(import_ids, "an import")
    with connected(access) as client:
        frontend = client.frontend()
        done = [_retried(client, one, frontend) for one in import_ids]
    if not all(done):
        raise SystemExit(1)


def _retried(client: Client, import_id: str, frontend: str) -> bool:
    name = import_id
    try:
        out, imported = console(), client.retry_import(import_id)
        name = str(imported.get("filename") or import_id)
        imported = follow(client, out, name, imported)
        show(client, out, name, imported, frontend=frontend)
    except ClientError as error:
        click.echo(f"{name}: {error}", err=True)
        return False
    return True


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(one.get(key) or "") for key in ("id", "status", "filename", "created"))


def _explained(one: dict[str, Any]) -> str:
    return str(one.get("run_id") if one.get("status") == "done" else one.get("error") or "")
