"""Celery's logs in the form of all others: its loggers, and in JSON what it prints beside them."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from celery import Celery, signals
from celery.apps import worker as worker_program

from ibutsu_core import logs
from ibutsu_core.settings import Settings


def take_over(celery: Celery, settings: Settings) -> None:
    """Configure the logs where Celery would, with the level of its command line."""

    def configure(loglevel: int, logfile: str | None, **_: Any) -> None:
        stream = Path(logfile).open("a", encoding="utf-8") if logfile else None  # noqa: SIM115 - it is logged to
        logs.configure(str(settings.application), settings.log_format, loglevel, settings.secrets(), stream)
        # What a task prints is an event as well. A child reads the level's name from its environment.
        celery.log.redirect_stdouts("WARNING")  # type: ignore[arg-type]
        # What ends the process is one event; printed, each of its words would be one.
        sys.excepthook = _log_uncaught

    signals.setup_logging.connect(configure, weak=False)
    if settings.log_format == "json":
        _say_no_more_than_json(celery, str(settings.application))


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("The process ends: %s", error, exc_info=(kind, error, traceback))


def _say_no_more_than_json(celery: Celery, application: str) -> None:
    def without_banner(instance: Any, **_: Any) -> None:
        instance.quiet = True

    signals.celeryd_init.connect(without_banner, weak=False)

    class Beat(celery.Beat):  # type: ignore[misc,name-defined]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "quiet": True})

    vars(celery)["Beat"] = Beat

    formatter = logs.JsonFormatter(application)

    def say(message: str, *_: Any) -> None:
        # Celery says this in a signal handler, where the logger's lock may be held by what was interrupted.
        record = logging.LogRecord("celery.worker", logging.INFO, "", 0, message, None, None)
        os.write(2, f"{formatter.format(record)}\n".encode())

    vars(worker_program)["safe_say"] = say
