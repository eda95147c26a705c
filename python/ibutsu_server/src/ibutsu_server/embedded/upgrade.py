"""Brings the schema up to date, as a program of its own, so that a Ctrl-C can end it."""

from __future__ import annotations

import os
import sys

from sqlalchemy.exc import OperationalError

from ibutsu_core.settings import Application
from ibutsu_server.embedded import environment
from ibutsu_server.embedded.errors import EmbeddedError
from ibutsu_server.store import migrate


def main() -> None:
    """Upgrade the database that the API's environment names."""
    settings = environment.read(Application.BACKEND, os.environ).database
    if settings is None:
        raise EmbeddedError("The API's settings hold no database.")
    migrate.upgrade(settings)


if __name__ == "__main__":
    try:
        main()
    except (EmbeddedError, OperationalError) as error:
        sys.exit(f"The schema cannot be brought up to date: {getattr(error, 'orig', error)}")
