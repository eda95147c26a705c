"""`ibutsu pin`, `ibutsu unpin` and `ibutsu retention`: what is kept for longer, or less long, than the rest."""

from __future__ import annotations

import click

from ibutsu_core.retention import MAX_MONTHS, Kind
from ibutsu_server.client.connection import check_ids, connected, server_options

months = click.IntRange(1, MAX_MONTHS)


@click.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@server_options
def pin(run_ids: tuple[str, ...], *, url: str | None, token: str | None) -> None:
    """Pin runs: they are never pruned, nor their results and artifacts."""
    _pin(run_ids, (url, token), pinned=True)


@click.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@server_options
def unpin(run_ids: tuple[str, ...], *, url: str | None, token: str | None) -> None:
    """Unpin runs, so that the retention policy holds for them again."""
    _pin(run_ids, (url, token), pinned=False)


@click.command()
@click.argument("project")
@click.option("--artifacts", type=months, metavar="MONTHS", help="Months that artifacts are kept.")
@click.option("--results", type=months, metavar="MONTHS", help="Months that results are kept.")
@click.option("--runs", type=months, metavar="MONTHS", help="Months that runs are kept.")
@click.option("--default", is_flag=True, help="Give the project back to the default policy.")
@server_options
def retention(project: str, *, url: str | None, token: str | None, default: bool, **given: int | None) -> None:
    """Show the retention policy of PROJECT, a name or an id, or give it one of its own.

    Of what is not given, the default policy's months are taken, and stay when that changes.
    """
    policy = {kind: count for kind, count in given.items() if count is not None}
    if default and policy:
        raise click.UsageError("--default and months exclude each other.")
    with connected((url, token)) as client:
        found = client.find_project(project)
        if default or policy:
            found = client.update_project(found["id"], retention=policy)
    own = found["retention"]
    if own is None:
        click.echo(f"{found['name']} has no policy of its own; the default one holds.")
    else:
        click.echo(f"{found['name']} keeps {', '.join(f'{kind} for {own[kind]} months' for kind in Kind)}.")


def _pin(run_ids: tuple[str, ...], access: tuple[str | None, str | None], *, pinned: bool) -> None:
    check_ids(run_ids, "a run")
    with connected(access) as client:
        for one in run_ids:
            run = client.pin_run(one, pinned=pinned)
            click.echo(f"{run['id']} {'is pinned' if pinned else 'is not pinned any more'}.")
