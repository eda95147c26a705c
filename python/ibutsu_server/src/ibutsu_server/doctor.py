"""`ibutsu doctor`: what is wrong with a system, and the command that mends it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ibutsu_core.settings import VARIABLES
from ibutsu_server.client.access import ClientError, find_local
from ibutsu_server.ops.doctor import examination, report, subject, web
from ibutsu_server.ops.doctor.finding import EXIT_CODES, worst

FLOWER = ("127.0.0.1", 5555)
"""Where Flower is in the scheduler's pod, of which it is the second container."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--flower-url", metavar="URL", help="Flower; else FLOWER_URL, else what answers at port 5555 here.")
@click.option("--url", metavar="URL", help="The API; else IBUTSU_PUBLIC_URL, else IBUTSU_URL.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 300),
    default=12.0,
    show_default=True,
    help="Seconds that all checks together may take.",
)
def doctor(*, as_json: bool, flower_url: str | None, url: str | None, timeout: float) -> None:
    """Say what is wrong with the system, why, and which command mends it.

    Run it where a worker, the scheduler, the backend or Flower runs: it finds the system by the environment, as they
    do. Where that names none, it looks at the local system that `ibutsu up` runs. It changes nothing, and prints no
    secret. The exit code is 0 when all is well, 1 with warnings, 2 with failures.
    """
    begun = time.monotonic()
    try:
        environ, local = _environment()
    except ClientError as error:
        raise click.ClickException(str(error)) from error
    kubernetes = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    patient = subject.read(environ, read_file=lambda path: Path(path).read_text("utf-8"), kubernetes=kubernetes)
    flower_url = flower_url or os.environ.get("FLOWER_URL") or local.get("flower_url")
    if flower_url is None and web.listens(*FLOWER):
        flower_url = f"http://{FLOWER[0]}:{FLOWER[1]}"
    url = url or patient.public_url or os.environ.get("IBUTSU_URL") or local.get("url")
    seen = examination.observe(patient, flower_url=flower_url, url=url, seconds=timeout)
    secrets = (*patient.secrets, os.environ.get("IBUTSU_TOKEN", ""), str(local.get("token") or ""))
    findings = report.clean(examination.judge(patient, seen, kubernetes=kubernetes), secrets)
    if as_json:
        click.echo(report.document(findings, time.monotonic() - begun))
    else:
        for line in report.lines(findings, sys.stdout.encoding or "ascii"):
            click.echo(line)
    raise SystemExit(EXIT_CODES[worst(findings)])


def _environment() -> tuple[Mapping[str, str], dict[str, Any]]:
    """Return the variables of the system to look at, and what the local system's file says, where it is that."""
    names = [variable.name for variable in VARIABLES if variable.required]
    if any(os.environ.get(name) or os.environ.get(f"{name}_FILE") for name in names):
        return os.environ, {}
    found = find_local(Path.cwd())
    if found is None:
        return os.environ, {}
    local = found[1]
    database = local.get("database")
    given = {f"POSTGRESQL_{key.upper()}": str(value) for key, value in database.items()} if database else {}
    given |= {"CELERY_BROKER_URL": str(local["broker_url"])} if local.get("broker_url") else {}
    given |= {"CELERY_RESULT_BACKEND": str(local["result_backend"])} if local.get("result_backend") else {}
    return {**os.environ, **given}, local
