"""`ibutsu canary`: a tiny import through the whole pipeline, each leg of it measured, and nothing left of it."""

from __future__ import annotations

import json
import signal
import time
from types import FrameType

import click

from ibutsu_server.client.access import ClientError
from ibutsu_server.client.connection import find, server_options
from ibutsu_server.client.flight import Flight, Leg
from ibutsu_server.client.server import Client

STOPPED = 128 + signal.SIGINT
"""The exit code after Ctrl-C, as shells have it."""


@click.command()
@click.option("--project", help="The project to import into, by name or id; else that of the local system.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds until the report must have come through.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@server_options
def canary(*, project: str | None, timeout: float, as_json: bool, url: str | None, token: str | None) -> None:
    """Send a tiny report through the whole pipeline, measure each leg, and remove all of it again.

    The run's metadata has `canary: true`. The token's user must be the project's owner or a superadmin, who may delete
    runs. The exit code is 1 when a leg fails.
    """
    signal.signal(signal.SIGTERM, _stop)
    begun = time.monotonic()
    try:
        server = find((url, token))
        with Client(server, patience=timeout) as client:
            flight = Flight(client, project or server.project, begun + timeout)
            failed = _flown(flight, quiet=as_json)
    except ClientError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(_document(flight, failed, time.monotonic() - begun))
    elif failed:
        click.echo(f"Error: {failed} `ibutsu doctor` on the server may say why.", err=True)
    else:
        click.echo(f"The report came through and is removed: {time.monotonic() - begun:.2f} s in all.")
    if flight.stopped:
        raise SystemExit(STOPPED)
    if failed:
        raise SystemExit(1)


def _flown(flight: Flight, *, quiet: bool) -> str | None:
    """Fly, and remove what is left; return the sentence of the first leg that failed."""

    def tell(leg: Leg) -> None:
        if not quiet:
            click.echo(f"{leg.name:<9} {leg.seconds:8.3f} s  {'failed' if leg.error else leg.meaning}")

    flight.fly(tell)
    failed = [leg for leg in flight.done if leg.error]
    if not failed:
        return None
    # What could not be removed either is to be known.
    also = "".join(f" Then `{leg.name}` failed: {leg.error}" for leg in failed[1:])
    return f"The canary failed at `{failed[0].name}` ({failed[0].meaning}): {failed[0].error}{also}"


def _document(flight: Flight, failed: str | None, seconds: float) -> str:
    first = next((leg.name for leg in flight.done if leg.error), None)
    return json.dumps(
        {
            "status": "failure" if failed else "ok",
            "failed_leg": first,
            "message": failed,
            "seconds": round(seconds, 3),
            "run_id": flight.run_id,
            "import_id": flight.import_id,
            "legs": [_told(leg) for leg in flight.done],
        },
        indent=2,
        ensure_ascii=False,
    )


def _told(leg: Leg) -> dict[str, object]:
    return {"leg": leg.name, "seconds": round(leg.seconds, 3), "error": leg.error}


def _stop(_signal: int, _frame: FrameType | None) -> None:
    # A Job of Kubernetes that is deleted is to leave nothing behind either.
    raise KeyboardInterrupt
