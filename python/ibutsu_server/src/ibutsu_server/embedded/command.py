"""`ibutsu up` on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ibutsu_server.embedded.errors import EmbeddedError


@click.command()
@click.option("--no-sample", is_flag=True, help="Do not import the sample report at the first start.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".ibutsu"),
    show_default=True,
    help="Where the data, the logs and the passwords are kept between starts.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many workers to start.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The API's port.  [default: 8080, or a free one where it is in use]"
)
def up(*, no_sample: bool, data_dir: Path, workers: int, port: int | None) -> None:
    """Run the whole system on this machine, until Ctrl-C.

    Starts PostgreSQL, Redis, the API, workers, the scheduler and Flower, and shows where each is. A PostgreSQL that
    POSTGRESQL_HOST, _USER, _PASSWORD and _DATABASE name, or a Redis that CELERY_BROKER_URL names, is used instead.
    """
    try:
        from ibutsu_server.embedded import up as system
        from ibutsu_server.embedded.preparation import Options
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"The package {error.name} is not installed; install ibutsu-server[embedded]."
        ) from error

    try:
        system.up(Options(data_directory=data_dir, sample=not no_sample, workers=workers, port=port), os.environ)
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Stopped before anything ran.")
