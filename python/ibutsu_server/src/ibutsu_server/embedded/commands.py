"""The command of each application, as data: containers run these, and `ibutsu up` runs them on one machine."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from ibutsu_core.settings import Application

API_PORT = 8080
FLOWER_PORT = 5555
HEALTH_PATH = "/api/health"
FLOWER_HEALTH_PATH = "/healthcheck"
READY_PATH = "/readyz"
"""Of a worker and a scheduler, at their IBUTSU_HEALTH_ADDRESS."""

COMMANDS: Mapping[Application, tuple[str, ...]] = {
    Application.BACKEND: (
        *("gunicorn", "--bind", f"0.0.0.0:{API_PORT}", "--threads", "8", "--no-control-socket"),
        *("--limit-request-line", "8190", "--config", "python:ibutsu_server.gunicorn_config"),
        "ibutsu_server:backend_app",
    ),
    Application.WORKER: ("celery", "--app", "ibutsu_server:worker_app", "worker"),
    Application.SCHEDULER: ("celery", "--app", "ibutsu_server:scheduler_app", "beat"),
    Application.FLOWER: ("celery", "--app", "ibutsu_server:flower_app", "flower"),
}

# The signals that end each, and the seconds that it has before the next one: first what it has in hand is finished,
# then it is dropped (a task goes back to the queue).
STOP: Mapping[Application, tuple[tuple[signal.Signals, float], ...]] = {
    Application.BACKEND: ((signal.SIGTERM, 4.0), (signal.SIGQUIT, 2.0)),
    Application.WORKER: ((signal.SIGTERM, 8.0), (signal.SIGQUIT, 3.0)),
    Application.SCHEDULER: ((signal.SIGTERM, 4.0),),
    Application.FLOWER: ((signal.SIGTERM, 4.0),),
}


def backend(address: str) -> tuple[str, ...]:
    """Return the API's command, listening on `address` (HOST:PORT)."""
    command = COMMANDS[Application.BACKEND]
    position = command.index("--bind") + 1
    return (*command[:position], address, *command[position + 1 :])


def worker(hostname: str | None = None) -> tuple[str, ...]:
    """Return a worker's command; several on one machine need a `hostname` each."""
    return (*COMMANDS[Application.WORKER], *(("--hostname", hostname) if hostname else ()))


def flower(host: str, port: int) -> tuple[str, ...]:
    """Return Flower's command, listening on `host` and `port`."""
    return (*COMMANDS[Application.FLOWER], f"--address={host}", f"--port={port}")


def here(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command with its program taken from this interpreter's environment, whatever PATH has."""
    script = Path(sys.executable).parent / command[0]
    program = (str(script),) if script.exists() else (sys.executable, "-P", "-m", command[0])
    return (*program, *command[1:])
