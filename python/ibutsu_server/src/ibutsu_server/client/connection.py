"""The server that a command's options name, and what every command checks."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from ibutsu_server.client.access import ClientError, find_server
from ibutsu_server.client.server import Client

Access = tuple[str | None, str | None]
"""The URL and the token that the options give."""


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options `--url` and `--token`."""
    token = click.option("--token", help="The API token; better given by IBUTSU_TOKEN, which other users do not see.")
    url = click.option("--url", help="The server; else IBUTSU_URL, else the local one that `ibutsu up` runs.")
    return url(token(command))


@contextlib.contextmanager
def connected(access: Access) -> Iterator[Client]:
    """Give a client; what goes wrong with it is a sentence for the shell."""
    try:
        with Client(find_server(*access, os.environ, Path.cwd())) as client:
            yield client
    except ClientError as error:
        raise click.ClickException(str(error)) from error


def check_ids(ids: Iterable[str], what: str) -> None:
    """Refuse what is no UUID, before anything is done."""
    for one in ids:
        try:
            uuid.UUID(one)
        except ValueError:
            raise click.BadParameter(f"{one!r} is not the id of {what}.", param_hint="ID") from None
