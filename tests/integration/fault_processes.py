"""Servers and workers that tests kill, and start again."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil

from ibutsu_server.embedded import commands, processes

READY_SECONDS = 90


class Server:
    """A server that is killed and started again, with the same data on the same port."""

    def __init__(self, program: processes.Program, refusal: Callable[[], str | None], log: Path) -> None:
        self._program = program
        self._refusal = refusal
        self._log = log
        self._output: IO[bytes] = log.open("ab")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = processes.spawn(self._program, output=self._output)
        processes.wait_until(self._refusal, self._process, self._program.name, seconds=READY_SECONDS, log=self._log)

    def kill(self) -> None:
        """Kill it with all its processes, at once."""
        kill_tree(self._process)

    def restart(self) -> None:
        """End it as it likes to be ended, and start it again."""
        processes.stop(self._process, self._program)
        self.start()

    def ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

    def launch(self) -> None:
        """Start it without waiting; a server that cannot run yet ends again."""
        self._process = processes.spawn(self._program, output=self._output)

    def suspend(self) -> None:
        """Stop all its processes where they are."""
        for process in (psutil.Process(self._process.pid), *processes.descendants(self._process)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let them go on."""
        for process in (*processes.descendants(self._process), psutil.Process(self._process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def stop(self) -> None:
        """End it as it likes to be ended."""
        processes.stop(self._process, self._program)
        self._output.close()


class Application:
    """A process of ours that is started again when it has ended, as Kubernetes would."""

    def __init__(self, name: str, command: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._program = processes.Program(name=name, argv=command, environment=environment, directory=log.parent)
        self._log = log
        self._output: IO[bytes] = log.open("ab")
        self.start()

    def start(self, **variables: str) -> None:
        """Start it, with more variables perhaps; it is ready some seconds later."""
        self._begin = self._log.stat().st_size
        program = dataclasses.replace(self._program, environment={**self._program.environment, **variables})
        self.process = processes.spawn(program, output=self._output)

    def restart(self, **variables: str) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start(**variables)

    def logged(self) -> bytes:
        """What it has said since it was started."""
        with self._log.open("rb") as file:
            file.seek(self._begin)
            return file.read()

    def ended(self) -> bool:
        """Whether it is no more."""
        return self.process.poll() is not None

    def children(self) -> list[psutil.Process]:
        """Return its children."""
        return psutil.Process(self.process.pid).children()

    def kill(self) -> None:
        """Kill it with all its processes, at once."""
        kill_tree(self.process)

    def stop(self) -> None:
        """Kill it, and close its log."""
        self.kill()
        self._output.close()


class Worker(Application):
    """A worker of the specification's command; each of its children runs one task at a time."""

    def __init__(self, name: str, concurrency: int, environment: dict[str, str], log: Path) -> None:
        command = (sys.executable, "-m", *commands.worker(f"{name}@%h"))
        super().__init__(name, command, {**environment, "CELERY_WORKER_CONCURRENCY": str(concurrency)}, log)

    def ready(self) -> bool:
        """Whether it takes tasks."""
        return b" ready." in self.logged()


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it started, and wait until they are gone; a zombie of another's is."""
    killed = processes.descendants(process)
    process.kill()
    for child in killed:
        with contextlib.suppress(psutil.Error):
            child.kill()
    process.wait()
    deadline = time.monotonic() + READY_SECONDS
    while any(runs(child) for child in killed):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs(process: psutil.Process) -> bool:
    """Whether the process is more than a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
