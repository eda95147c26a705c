"""The probes of real processes: what a fault changes in their answers, and that it passes with the fault."""

from __future__ import annotations

import contextlib
import functools
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.embedded import postgres, redis
from ibutsu_server.store import migrate

Start = Callable[..., AbstractContextManager["Process"]]
Until = Callable[..., None]

COMMANDS = {
    "worker": ["-m", "celery", "--app", "ibutsu_server:worker_app", "worker"],
    "scheduler": ["-m", "celery", "--app", "ibutsu_server:scheduler_app", "beat"],
    "backend": ["-m", "gunicorn", "--bind", "127.0.0.1:0", "--threads", "2", "--no-control-socket", "--workers", "2",
                "--config", "python:ibutsu_server.gunicorn_config", "ibutsu_server:backend_app"],
}  # fmt: skip

THREADS = 4
"""Of the API, in both its processes."""

HANGING = """
import signal, time
from ibutsu_server import worker_app
from ibutsu_server.ops import health

health.HANG = 1.0
signal.signal(signal.SIGUSR2, lambda *_: time.sleep(10))
"""
"""A worker whose main loop hangs for a while when it is told to."""


class Process:
    """A worker or a scheduler, and what its probes answer."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def url(self) -> str | None:
        """Return where its probes are, None as long as they are not."""
        found = re.search(r"Health is answered at port (\d+)", self.log.read_text())
        return f"http://127.0.0.1:{found[1]}" if found else None

    def probe(self, path: str) -> tuple[int, str]:
        """Return the status and the message of a probe."""
        answer = httpx.get(f"{self.url()}{path}", timeout=30)
        return answer.status_code, answer.json()["message"]

    def says(self, path: str, status: int, pattern: str) -> bool:
        """Whether a probe has that status, and the pattern in its message."""
        found, message = self.probe(path)
        return found == status and re.search(pattern, message) is not None

    def ready(self) -> bool:
        """Whether it is ready."""
        return self.url() is not None and self.probe("/readyz")[0] == 200


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path, until: Until) -> Start:
    """Start a process with a health server, ready; it is ended by SIGTERM at the end of the block."""

    @contextlib.contextmanager
    def start(name: str, command: list[str] | None = None, **variables: str) -> Iterator[Process]:
        log = tmp_path / f"{name}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, *(command or COMMANDS[name])],
                env={**environment, "IBUTSU_HEALTH_ADDRESS": "127.0.0.1:0", **variables},
                stdout=output,
                stderr=output,
            )
        process = Process(child, log)
        try:
            until(lambda: process.ready() or child.poll() is not None, log)
            yield process
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)

    return start


@pytest.mark.slow
def test_neither_worker_nor_scheduler_is_dead_while_redis_is_away_and_both_are_ready_again_after_it(
    start: Start, until: Until, server_directory: Path
) -> None:
    with redis.server(server_directory / "paused", durable=False) as url:
        variables = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
        server = _server_at(int(url.rpartition(":")[2].partition("/")[0]))
        with start("worker", **variables) as worker, start("scheduler", **variables) as scheduler:
            server.suspend()
            for process in (worker, scheduler):
                silent = functools.partial(process.says, "/readyz", 503, "does not answer within 2 s")
                until(silent, process.log)
                assert process.probe("/healthz")[0] == 200
            server.resume()
            for process in (worker, scheduler):
                until(process.ready, process.log, seconds=120)


@pytest.mark.slow
def test_the_api_is_not_dead_while_all_its_threads_wait_for_the_database(
    start: Start,
    until: Until,
    server_directory: Path,
    broker_url: str,
    environment_of: Callable[[DatabaseSettings, str], dict[str, str]],
) -> None:
    login = {"email": "somebody@example.com", "password": "secret"}
    with (
        postgres.server(server_directory / "paused-postgres", durable=False) as database,
        ThreadPoolExecutor(16) as pool,
    ):
        migrate.upgrade(database)
        with start("backend", **environment_of(database, broker_url)) as api:
            address = re.findall(r"Listening at: (\S+)", api.log.read_text())[0]
            server = _server_at(database.port)
            stopped = [server, *server.children(recursive=True)]
            for one in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go.
                    one.suspend()
            try:
                # That comes first, for the API gives up a connection to the database that takes too long.
                until(lambda: api.probe("/readyz")[0] == 503, api.log)
                waiting = [pool.submit(httpx.post, f"{address}/api/login", json=login, timeout=120) for _ in range(16)]
                until(lambda: _connected(api, database.port) >= THREADS, api.log)
                assert api.probe("/healthz")[0] == 200
                assert not any(each.done() for each in waiting)
            finally:
                for one in stopped:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.resume()
            until(api.ready, api.log)
            assert {each.result().status_code for each in waiting} <= {401, 429, 503}


def _connected(api: Process, port: int) -> int:
    """Return how many connections to the port there are of the processes that answer requests."""
    children = psutil.Process(api.process.pid).children()
    connections = [one for child in children for one in child.net_connections("tcp")]
    return sum(bool(one.raddr) and one.raddr.port == port for one in connections)


def _server_at(port: int) -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        if port in _listening(process):
            return process
    raise AssertionError(f"nothing listens at {port}")


@pytest.mark.slow
def test_a_main_loop_that_hangs_is_dead_says_where_and_lives_again(
    start: Start, until: Until, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    path = f"{tmp_path}:{environment.get('PYTHONPATH', '')}"
    command = ["-m", "celery", "--app", "hanging:worker_app", "worker"]
    with start("worker", command, PYTHONPATH=path) as worker:
        # On a busy machine a turn may take longer than the second that this worker gives it.
        until(lambda: worker.probe("/healthz")[0] == 200)
        worker.process.send_signal(signal.SIGUSR2)
        where = r"has not turned for \d+ s: it is in <lambda> \(.*hanging.py:7\)"
        until(lambda: worker.says("/healthz", 503, where))
        until(lambda: worker.probe("/healthz")[0] == 200)


@pytest.mark.slow
def test_a_worker_that_finishes_its_tasks_is_alive_and_not_ready(start: Start, until: Until, tmp_path: Path) -> None:
    """While it is told to end, its loop does not turn; its children have all the time that they are given."""
    with start("worker") as worker:
        (child,) = psutil.Process(worker.process.pid).children()
        child.suspend()
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: worker.probe("/readyz") == (503, "It ends, and begins nothing new."), worker.log)
        assert worker.probe("/healthz") == (200, "It finishes its tasks and ends.")
        child.resume()


@pytest.mark.slow
def test_a_child_answers_no_probe_and_a_port_in_use_is_said(
    start: Start, until: Until, environment: dict[str, str]
) -> None:
    with start("worker") as worker:
        port = int(str(worker.url()).rpartition(":")[2])
        (child,) = psutil.Process(worker.process.pid).children()
        child.kill()
        child.wait()
        until(lambda: _children_without(port, worker), worker.log)
        variables: dict[str, Any] = {**environment, "IBUTSU_HEALTH_ADDRESS": f"127.0.0.1:{port}"}
        for name, command in COMMANDS.items():
            done = subprocess.run([sys.executable, *command], env=variables, capture_output=True, text=True, timeout=60)
            assert done.returncode != 0, name
            expected = f"IBUTSU_HEALTH_ADDRESS=127.0.0.1:{port} cannot be listened at: Address already in use."
            assert expected in done.stderr + done.stdout
            assert "Traceback" not in done.stderr


def _children_without(port: int, worker: Process) -> bool:
    """Whether there are children and none listens at the port. A newborn one does, until it has closed its copy."""
    children = psutil.Process(worker.process.pid).children()
    return bool(children) and all(port not in _listening(one) for one in children)


def _listening(process: psutil.Process) -> list[int]:
    try:
        connections = process.net_connections("tcp")
    except psutil.NoSuchProcess:  # PostgreSQL's own come and go.
        return []
    return [one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN]
