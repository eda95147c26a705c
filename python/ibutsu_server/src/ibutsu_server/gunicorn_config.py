"""What gunicorn is told beside its command: its logs, its metrics, its probes, and how long it waits for clients."""

from __future__ import annotations

import functools
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from ibutsu_server.ops import multiprocess, probes

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


def on_starting(server: Any) -> None:
    """Make the directory in which all of gunicorn's workers count, and have gunicorn end in order."""
    multiprocess.prepare()
    server.stop = functools.partial(_stop, server.stop)


def _stop(stop: Callable[[bool], None], graceful: bool = True) -> None:
    """Stop the workers, also where another one could not start either: gunicorn raises that, out of its end."""
    while True:
        try:
            return stop(graceful)
        except HaltServer:
            continue  # That worker is gone, so this comes to an end.


def post_worker_init(worker: Any) -> None:
    """Answer probes beside gunicorn's threads, and bound what clients may take of them."""
    try:
        probes.in_gunicorn(worker.wsgi)
    except SystemExit as error:
        # With any other status gunicorn would start the next worker, again and again.
        worker.log.critical("%s", error)
        sys.exit(Arbiter.WORKER_BOOT_ERROR)
    _bound_clients(worker)


def _bound_clients(worker: Any) -> None:
    """Give up on clients that neither send nor take a byte for a while, each of which would keep a thread for ever.

    Linux hands the timeouts of a listening socket on to the connections that it accepts, so they hold for all of a
    request: its first line, its body, and its answer. A read or a write then fails, as when a client has gone.
    """
    seconds = worker.wsgi.extensions["ibutsu_settings"].api_limits.client_time
    for listener in worker.sockets:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", seconds, 0))
