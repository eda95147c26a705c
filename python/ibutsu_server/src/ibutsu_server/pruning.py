"""`ibutsu prune`: what retention would delete, or does now, with the database's settings as a worker has them."""

from __future__ import annotations

import datetime as dt
import os
import uuid

import click
import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sqlalchemy import exc
from sqlalchemy.orm import Session

from ibutsu_core.retention import MAX_MONTHS, Kind, RetentionError, RetentionPolicy
from ibutsu_core.settings import SettingsError, load_retention
from ibutsu_server.admin import admin_session, database
from ibutsu_server.store import clock, policies, projects, retention, retention_plan
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.clock import ClockError
from ibutsu_server.store.policies import Policies
from ibutsu_server.store.pruned import Pruned

COLUMNS = ("", "count", "bytes", "oldest", "newest")

months = click.IntRange(1, MAX_MONTHS)


@click.command()
@click.option("--dry-run", is_flag=True, help="Delete nothing; show what would go.")
@click.option("--project", metavar="NAME", help="Only this project, by name or id.")
@click.option("--artifacts", type=months, metavar="MONTHS", help="Months that artifacts are kept.")
@click.option("--results", type=months, metavar="MONTHS", help="Months that results are kept.")
@click.option("--runs", type=months, metavar="MONTHS", help="Months that runs are kept.")
def prune(*, dry_run: bool, project: str | None, **given: int | None) -> None:
    """Delete what the retention policy calls old, now.

    Months that are given stand for the default policy's, IBUTSU_RETENTION_…_MONTHS; projects with a policy of their own
    keep it. PostgreSQL is found as by `ibutsu db`.
    """
    try:
        changed = {kind: count for kind, count in given.items() if count is not None}
        default = RetentionPolicy.of(changed, load_retention(os.environ))
        with database() as settings, admin_session(settings) as session:
            only = _found(session, project) if project is not None else None
            engine = session.connection().engine
            session.rollback()
            with engine.connect() as connection:
                now = clock.confirmed_now(connection)
                with connection.begin():
                    known = policies.read(connection, default, only=only)
                planned = retention_plan.plan(connection, known, Kind, now)
                _show(planned if dry_run else _prune(connection, known, planned, now))
    except (RetentionError, SettingsError, ClockError) as error:
        raise click.ClickException(str(error)) from error


def _found(session: Session, project: str) -> uuid.UUID:
    # PostgreSQL's texts hold neither NUL nor what a shell's argument has of bytes that are no UTF-8.
    holdable = "\x00" not in project and not any("\ud800" <= character <= "\udfff" for character in project)
    found = projects.find(session, project) if holdable else None
    if found is None:
        raise click.ClickException(f"There is no project {project!r}.")
    return found.id


def _prune(connection: sa.Connection, known: Policies, planned: Pruned, now: dt.datetime) -> Pruned:
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        retention.exclusive(connection) as mine,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        if not mine:
            raise click.ClickException("A worker is pruning at the moment; nothing was done. Try again later.")
        task = progress.add_task("rows", total=planned.rows)
        rows = 0

        def tell(pruned: Pruned) -> None:
            nonlocal rows
            rows = pruned.rows
            progress.update(task, completed=rows)

        try:
            return retention.prune(Batches(connection), known, Kind, now, tell=tell)
        except exc.DBAPIError as error:
            if getattr(error.orig, "pgcode", None) is None:
                raise  # The connection is gone; `database` says so, without the driver's text.
            reason = next(iter(str(error.orig).splitlines()), type(error.orig).__name__)
            raise click.ClickException(
                f"PostgreSQL ended it: {reason}. {rows:,} rows are deleted; call it again for the rest."
            ) from error


def _show(pruned: Pruned) -> None:
    rows = [
        (name, f"{tally.gone:,}", f"{tally.bytes:,}", _instant(tally.oldest), _instant(tally.newest))
        for name, tally in pruned.tallies.items()
    ]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if console.is_terminal:
        table = Table()
        for column in COLUMNS:
            table.add_column(column, justify="right" if column in ("count", "bytes") else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        for row in (COLUMNS, *rows):
            click.echo("\t".join(row))
    if pruned.in_use:
        click.echo(f"{pruned.in_use:,} old rows were in use; they stay until the next time.")


def _instant(instant: dt.datetime | None) -> str:
    return "-" if instant is None else f"{instant.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
