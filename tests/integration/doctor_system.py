"""The system that `ibutsu doctor` is tried on: its processes, and the command with what it found."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from click.testing import CliRunner

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import Application, DatabaseSettings, load
from ibutsu_server.cli import main
from ibutsu_server.embedded import commands

SECRETS = ("flower:secret", "not-the-password")


@dataclasses.dataclass(frozen=True)
class Servers:
    """Two Redis servers by their URLs, and the ids of the processes that tests pause."""

    broker: str
    spare: str
    spare_pid: int
    postgres_pid: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """A running system: `worker` is a process's id, `other` a migrated database without a scheduler."""

    environment: dict[str, str]
    database: DatabaseSettings
    other: DatabaseSettings
    servers: Servers
    worker: int
    flower: str
    api: str

    @property
    def spare(self) -> str:
        """The URL of a Redis without workers."""
        return self.servers.spare

    @property
    def secrets(self) -> list[str]:
        """What no output may hold."""
        urls = (self.environment["CELERY_BROKER_URL"], self.spare)
        passwords = [str(urlsplit(url).password) for url in urls]
        return [*urls, *passwords, self.database.password, *SECRETS]

    def run(self, *arguments: str, **variables: str) -> dict[str, Any]:
        """Run the command, and return what it found: the status and the exit code, and each check's findings."""
        done = CliRunner().invoke(main, ["doctor", "--json", *arguments], env=self.environment | variables)
        assert not [secret for secret in self.secrets if secret in done.output], done.output
        assert isinstance(done.exception, SystemExit | None), done.exc_info
        told = json.loads(done.stdout)
        assert done.exit_code == told["exit_code"] == {"ok": 0, "warning": 1, "failure": 2}[told["status"]]
        found: dict[str, Any] = {}
        for one in told["findings"]:
            found.setdefault(one["check"], []).append(one)
        return found


def end(started: subprocess.Popen[bytes]) -> None:
    """Ask the process to end."""
    started.send_signal(signal.SIGCONT)
    started.terminate()


@contextlib.contextmanager
def process(command: tuple[str, ...], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process while the block runs."""
    with log.open("wb") as output:
        started = subprocess.Popen(commands.here(command), env=environment, stdout=output, stderr=output)
    try:
        yield started
    finally:
        end(started)
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def answers(url: str) -> bool:
    """Whether something answers there, and has no fault of its own."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=60).status_code < 500
    return False


def send(environment: dict[str, str], task: str) -> None:
    """Put a task on the queue."""
    settings = load(Application.WORKER, environment).celery
    with create_broker_celery_app("tests", settings=settings) as app:
        app.send_task(task)
