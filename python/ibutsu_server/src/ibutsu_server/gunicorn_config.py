"""What gunicorn is told beside its command: how it logs, and where its workers count."""

from __future__ import annotations

import os
from typing import Any

from ibutsu_server.ops import multiprocess

# What gunicorn logs goes to the root logger, which the application configures again once it has its settings.
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "ibutsu_core.logs.TextFormatter"},
        "json": {"()": "ibutsu_core.logs.JsonFormatter", "application": "backend"},
    },
    "handlers": {
        "stderr": {
            "()": "ibutsu_core.logs.Handler",
            "formatter": "json" if os.environ.get("IBUTSU_LOG_FORMAT") == "json" else "text",
        }
    },
    "root": {"level": "INFO", "handlers": ["stderr"]},
    # The requests are counted, and a line for each would be mostly probes.
    "loggers": {
        name: {"level": level, "handlers": [], "propagate": True}
        for name, level in (("gunicorn.error", "INFO"), ("gunicorn.access", "WARNING"))
    },
}


def on_starting(_server: Any) -> None:
    """Make the directory in which all of gunicorn's workers count."""
    multiprocess.prepare()
