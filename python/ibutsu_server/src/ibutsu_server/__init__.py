"""Ibutsu's task platform. The four applications are made on first use, so that none loads what another needs.

`flower_app`, `worker_app` and `scheduler_app` are for `celery --app`, `backend_app` is a WSGI application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery
    from flask import Flask

    flower_app: Celery
    worker_app: Celery
    scheduler_app: Celery
    backend_app: Flask

__version__ = "0.1.0"

_APPLICATIONS = frozenset(("flower_app", "worker_app", "scheduler_app", "backend_app"))


def __getattr__(name: str) -> Any:
    """Make the application; where its environment is not right, end the process with what is wrong."""
    if name not in _APPLICATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ibutsu_core.settings import SettingsError
    from ibutsu_server import applications

    try:
        application = getattr(applications, name)()
    except SettingsError as error:
        raise SystemExit(str(error)) from error
    globals()[name] = application
    return application
