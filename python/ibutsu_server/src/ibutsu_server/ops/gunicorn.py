"""The API's configuration file for gunicorn: `--config python:ibutsu_server.ops.gunicorn`."""

from __future__ import annotations

from typing import Any

from ibutsu_server.ops import multiprocess


def on_starting(_server: Any) -> None:
    """Make the directory in which all of gunicorn's workers count."""
    multiprocess.prepare()
