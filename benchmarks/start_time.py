"""How long worker, scheduler and Flower take from nothing to ready, beside bare Celery with the same command.

    python benchmarks/start_time.py [TIMES]

Each is started in turns with a Celery application that has two settings and no task; the medians are compared.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import common
import httpx

from ibutsu_core.settings import Application
from ibutsu_server.embedded import commands, ports

BARE = """
import os
from celery import Celery
app = Celery(broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.worker_concurrency = 1
app.conf.broker_connection_retry_on_startup = True
"""
SAYS = {Application.WORKER: " ready.", Application.SCHEDULER: "beat: Starting..."}


def started(
    command: tuple[str, ...], environment: Mapping[str, str], ready: Callable[[Path], bool], log: Path
) -> float:
    """Start the command and end it when it is ready; returns the seconds in between."""
    begun = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=log.parent)
    try:
        while not ready(log):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        return time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> None:
    """Print the medians."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with common.servers() as servers:
        (servers.directory / "bare.py").write_text(BARE)
        environment = {
            **servers.environment,
            "FLOWER_BASIC_AUTH": "ibutsu:secret",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(servers.directory), os.environ.get("PYTHONPATH")))),
        }
        for application in (Application.WORKER, Application.SCHEDULER, Application.FLOWER):
            seconds: dict[str, list[float]] = {"bare": [], "ours": []}
            for _ in range(times):
                for kind, taken in seconds.items():
                    port = ports.free_port(commands.FLOWER_PORT)
                    flower = application is Application.FLOWER
                    ours = commands.flower("127.0.0.1", port) if flower else commands.COMMANDS[application]
                    command = commands.here(ours)
                    if kind == "bare":
                        command = tuple("bare:app" if "ibutsu_server" in part else part for part in command)
                        command += () if flower else ("--loglevel=info",)

                    def answers(_log: Path, port: int = port) -> bool:
                        try:
                            return httpx.get(f"http://127.0.0.1:{port}/healthcheck").status_code == 200
                        except httpx.TransportError:
                            return False

                    def says(log: Path, application: Application = application) -> bool:
                        return SAYS[application] in log.read_text()

                    taken.append(started(command, environment, answers if flower else says, servers.directory / "log"))
            bare, ours_median = (statistics.median(taken) for taken in seconds.values())
            print(
                f"{application:<10} {ours_median:5.2f} s, bare Celery {bare:5.2f} s: {ours_median / bare:.2f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
