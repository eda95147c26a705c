"""Flower's memory while it sees more and more tasks and workers, with the bounds that it has by default.

    python benchmarks/flower_memory.py [TASKS]

The events of the tasks are those that workers send; each thousand tasks come from a worker with a name of its own, as
pods have. Memory is the resident set after Flower has seen all of them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import httpx
from celery import Celery

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings
from ibutsu_server.embedded import commands, ports, redis

AUTH = ("ibutsu", "secret")
STEPS = 5


def resident(pid: int) -> float:
    """The process's resident set, in megabytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def send(celery: Celery, count: int) -> str:
    """Send the events of so many tasks; returns the last one's id."""
    task_id = ""
    for start in range(0, count, 1000):
        hostname = f"celery@ibutsu-worker-{uuid.uuid4().hex[:10]}"
        with celery.connection_for_write() as connection, celery.events.Dispatcher(connection, hostname) as events:
            events.send("worker-online", freq=2, sw_ident="py-celery", sw_ver="5", sw_sys="Linux")
            for _ in range(start, min(count, start + 1000)):
                task_id = str(uuid.uuid4())
                name, args = "ibutsu_server.tasks.importers.import_results", f"('{task_id}',)"
                events.send("task-received", uuid=task_id, name=name, args=args, kwargs="{}", retries=0)
                events.send("task-started", uuid=task_id)
                result = f"{{'import_id': '{task_id}', 'imported': True, 'results': 1000}}"
                events.send("task-succeeded", uuid=task_id, runtime=0.5, result=result)
            events.send("worker-offline", freq=2, sw_ident="py-celery", sw_ver="5", sw_sys="Linux")
    return task_id


def main() -> None:
    """Print the memory after each part of the tasks."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    directory = Path(tempfile.mkdtemp(prefix="ibutsu-benchmark-"))
    directory.chmod(0o755)
    with redis.server(directory / "redis") as broker:
        celery = create_broker_celery_app(
            "benchmark", settings=CelerySettings(broker_url=broker, result_backend=broker)
        )
        port = ports.free_port(commands.FLOWER_PORT)
        environment = {**os.environ, "CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker}
        flower = subprocess.Popen(
            commands.here(commands.flower("127.0.0.1", port)),
            env={**environment, "FLOWER_BASIC_AUTH": ":".join(AUTH)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=AUTH, timeout=60) as client:
                while True:
                    try:
                        if client.get("/healthcheck").status_code == 200:
                            break
                    except httpx.TransportError:
                        time.sleep(0.1)
                time.sleep(2)  # It subscribes to events after it serves.
                print(f"at its start: {resident(flower.pid):.1f} MB")
                for step in range(STEPS):
                    last = send(celery, tasks // STEPS)
                    while client.get(f"/api/task/info/{last}").status_code != 200:
                        time.sleep(0.5)
                    print(f"after {tasks // STEPS * (step + 1):,} tasks: {resident(flower.pid):.1f} MB", flush=True)
        finally:
            flower.send_signal(signal.SIGTERM)
            flower.wait(20)


if __name__ == "__main__":
    main()
