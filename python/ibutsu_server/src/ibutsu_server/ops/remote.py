"""What a worker answers when `ibutsu doctor` asks it through the broker."""

from __future__ import annotations

import datetime as dt
from typing import Any

from celery.worker.control import inspect_command

from ibutsu_core.settings import Settings
from ibutsu_server import __version__
from ibutsu_server.ops import identity

COMMAND = "ibutsu_info"


def register() -> None:
    """Have this process's worker answer."""
    inspect_command(name=COMMAND)(_info)


def _info(state: Any) -> dict[str, Any]:
    """Return the worker's version, its tasks, the digests of its addresses, and its time. There is no secret in it."""
    settings: Settings = state.app.flask_app.extensions["ibutsu_settings"]
    database = settings.database
    return {
        "version": __version__,
        "tasks": sorted(name for name in state.app.tasks if not name.startswith("celery.")),
        "result_backend": identity.broker_place(settings.celery.result_backend),
        "database": identity.place(database.host, database.port, database.database) if database else None,
        "time": dt.datetime.now(dt.UTC).isoformat(),
    }
