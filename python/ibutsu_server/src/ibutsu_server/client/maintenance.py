"""`ibutsu maintenance`: what the periodic tasks did, from the server's ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import click
from rich import filesize
from rich.table import Table

from ibutsu_server.client.connection import connected
from ibutsu_server.client.following import console
from ibutsu_server.client.server import Client

STATUSES = ("skipped", "waiting", "running", "done", "error")


@click.command()
@click.option("--url", help="The server; else IBUTSU_URL, else the local one that `ibutsu up` runs.")
@click.option("--token", help="A superadmin's API token; better given by IBUTSU_TOKEN, which other users do not see.")
@click.option("--entry", metavar="NAME", help="Only this entry of the schedule.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those with this status.")
@click.option("--count", type=click.IntRange(1, 500), default=25, show_default=True, help="How many, at most.")
def maintenance(*, url: str | None, token: str | None, entry: str | None, status: str | None, count: int) -> None:
    """List what the periodic tasks did: first what has not ended, then the newest.

    A task without a slot was sent by hand, or by a worker that started.
    """
    with connected((url, token)) as client:
        found = client.get_maintenance(count=count, entry=entry, status=status)
        failing = list(_failing(client, found))
    out = console()
    if out.is_terminal:
        table = Table("Entry or task", "Slot", "Status", "Started", "Took", "Worker", "What it did, or why it failed")
        for one in found:
            table.add_row(*_cells(one, exact=False))
        out.print(table)
    else:
        for one in found:
            click.echo("\t".join(_cells(one, exact=True)))
    for sentence in failing:
        click.echo(sentence, err=True)


def _failing(client: Client, found: list[dict[str, Any]]) -> Iterator[str]:
    """Say of each entry whose newest slot here failed when it last did not."""
    slots = [one for one in found if one.get("slot")]
    newest = {one["entry"]: one for one in sorted(slots, key=lambda one: _time(one["slot"]))}
    for entry, one in newest.items():
        if one["status"] == "error":
            good = client.get_maintenance(count=1, entry=entry, status="done")
            last = f"it last succeeded at {good[0]['finished']}" if good else "it has never succeeded"
            yield f"{entry} fails; {last}."


def _cells(one: dict[str, Any], *, exact: bool) -> tuple[str, ...]:
    took = ""
    if one["started"] and one["finished"]:
        seconds = (_time(one["finished"]) - _time(one["started"])).total_seconds()
        took = f"{seconds:.3f} s" if exact else f"{seconds:.1f} s"
    slot, started = (_shown(one[name], exact=exact) for name in ("slot", "started"))
    what = one["entry"] or one["task"].removeprefix("ibutsu_server.tasks.")
    return what, slot, one["status"], started, took, one["worker"] or "", _explained(one, exact=exact)


def _explained(one: dict[str, Any], *, exact: bool) -> str:
    said = [f"{name} {value}" for name, value in (one["counts"] or {}).items()]
    if one["bytes"] is not None:
        said.append(f"bytes {one['bytes']}" if exact else filesize.decimal(one["bytes"]))
    if one["parts"]:
        said.append(f"parts {one['parts'] + (one['status'] == 'done')}")
    if one["attempts"] > one["parts"] + 1:
        said.append(f"attempts {one['attempts']}")
    return ", ".join(said) if not one["error"] else "; ".join((one["error"], *said))


def _shown(text: str | None, *, exact: bool) -> str:
    if not text:
        return ""
    return text if exact else _time(text).strftime("%Y-%m-%d %H:%M:%S")


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
