"""The whole system as real processes, a supervisor that starts again what has ended, and a look at its health."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from redis import Redis
from sqlalchemy.orm import Session

from fault_disk import mount
from fault_load import Load, check_rows, unfinished
from fault_network import Proxy
from fault_processes import Application, Server, Worker
from ibutsu_core import queues
from ibutsu_core.celery_utils import QUEUE
from ibutsu_core.settings import Application as Kind
from ibutsu_server.embedded import commands, files, ports, postgres, processes, redis
from ibutsu_server.store import local, migrate
from ibutsu_server.store.database import create_engine

START_SECONDS = 120
BACK_SECONDS = 180
DRAIN_SECONDS = 420
"""Far more than these take; how long they took is printed."""

DISK = 1500 << 20
"""Bytes of the file system with PostgreSQL's data, where one can be made, for a few minutes of load."""

ADMIN_PASSWORD = "the-administrators-password"


@dataclasses.dataclass
class Watched:
    """What the probes of a process answered since the last look: whether it is ready, and what it lacked."""

    probe: str
    ready_since: float | None = None
    messages: list[str] = dataclasses.field(default_factory=list)
    dead: list[str] = dataclasses.field(default_factory=list)


class World:
    """Servers, API, two workers, scheduler and Flower. Worker `one` reaches both servers through proxies."""

    def __init__(self, directory: Path, logs: Path, *, disk: int = DISK) -> None:
        self.logs = logs
        self.ended_unasked: list[str] = []
        self._stack = contextlib.ExitStack()
        self._ends = threading.Event()
        self._lock = threading.RLock()
        self._known: set[uuid.UUID] = set()
        try:
            self._start_servers(directory, disk)
            self._start_applications()
        except BaseException:
            self.close()
            raise

    def _start_servers(self, directory: Path, disk: int) -> None:
        self.disk = directory / "postgres"
        self.disk.mkdir()
        self.disk_is_small = mount(self.disk, disk, self._stack)
        self.cluster = postgres.prepare(files.private_directory(self.disk))
        self.store = redis.prepare(files.private_directory(directory / "redis"))
        settings = json.loads((self.disk / "server.json").read_text())
        self.superuser = dataclasses.replace(
            self.cluster.settings, user="postgres", password=settings["superuser_password"], database="postgres"
        )
        options = ("-c", "max_connections=60", "-c", "max_wal_size=64MB", "-c", "min_wal_size=32MB")
        program = dataclasses.replace(self.cluster.program, argv=(*self.cluster.program.argv, *options))
        self.postgres = Server(program, lambda: postgres.refusal(self.cluster.settings), self.logs / "postgres.log")
        self._stack.callback(self.postgres.stop)
        self.redis = Server(self.store.program, lambda: redis.refusal(self.store.url), self.logs / "redis.log")
        self._stack.callback(self.redis.stop)
        self.proxies = {"postgres": Proxy(self.cluster.settings.port), "redis": Proxy(self.store.port)}
        for proxy in self.proxies.values():
            self._stack.callback(proxy.close)
        migrate.upgrade(self.cluster.settings)
        access = local.ensure_local_access(self.cluster.settings, email="admin@example.com", password=ADMIN_PASSWORD)
        self.queue = Redis.from_url(self.store.url, socket_timeout=10)
        self._stack.callback(self.queue.close)
        self.engine = create_engine(self.cluster.settings, application="tests", pool_size=1)
        self._stack.callback(self.engine.dispose)
        flower = f"operator:{secrets.token_hex(8)}"
        database = self.cluster.settings
        self.environment = {
            **processes.ordinary_environment(),
            "CELERY_BROKER_URL": self.store.url,
            "CELERY_RESULT_BACKEND": self.store.url,
            "POSTGRESQL_HOST": database.host,
            "POSTGRESQL_PORT": str(database.port),
            "POSTGRESQL_USER": database.user,
            "POSTGRESQL_PASSWORD": database.password,
            "POSTGRESQL_DATABASE": database.database,
            "FLOWER_BASIC_AUTH": flower,
            "IBUTSU_LOG_FORMAT": "json",
            # The same import is killed more often here than bad luck would.
            "IBUTSU_IMPORT_ATTEMPTS": "1000",
            # What Redis keeps of each task is to have its bound within the test.
            "CELERY_RESULT_EXPIRES": "60",
        }
        self.secrets = {
            "the database's password": database.password,
            "the superuser's password": self.superuser.password,
            "the broker's password": self.store.password,
            "Flower's password": flower.partition(":")[2],
            "the administrator's password": ADMIN_PASSWORD,
            "the token": access.token,
        }
        self.token = access.token

    def _start_applications(self) -> None:
        health = {name: ports.free_port(None) for name in ("one", "two", "scheduler", "api", "flower")}
        api = f"127.0.0.1:{ports.free_port(None)}"
        self.url = f"http://{api}"
        through_proxies = {
            "CELERY_BROKER_URL": self._through_proxy(self.store.url),
            "CELERY_RESULT_BACKEND": self._through_proxy(self.store.url),
            "POSTGRESQL_PORT": str(self.proxies["postgres"].port),
        }
        python = (sys.executable, "-m")
        self.applications: dict[str, Application] = {}
        for name, make in {
            "api": lambda name, given, log: Application(name, (*python, *commands.backend(api)), given, log),
            "one": lambda name, given, log: Worker(name, 1, given | through_proxies, log),
            "two": lambda name, given, log: Worker(name, 1, given, log),
            "scheduler": lambda name, given, log: Application(
                name, (*python, *commands.COMMANDS[Kind.SCHEDULER]), given, log
            ),
            "flower": lambda name, given, log: Application(
                name, (*python, *commands.flower("127.0.0.1", health["flower"])), given, log
            ),
        }.items():
            given = self.environment | {"IBUTSU_HEALTH_ADDRESS": f"127.0.0.1:{health[name]}"}
            self.applications[name] = make(name, given, self.logs / f"{name}.log")  # type: ignore[no-untyped-call]
            self._stack.callback(self.applications[name].stop)
        self.watched = {
            name: Watched(f"http://127.0.0.1:{port}{'/healthcheck' if name == 'flower' else '/readyz'}")
            for name, port in health.items()
        }
        threads = [threading.Thread(target=self._watch, args=(name,)) for name in self.watched]
        threads.append(threading.Thread(target=self._supervise))
        for thread in threads:
            thread.start()
        self._stack.callback(self._end_threads, threads)
        self.load = Load(self.url, self.token)
        self._stack.callback(self.load.close)
        self.wait_until_ready(time.monotonic(), START_SECONDS)

    def _through_proxy(self, url: str) -> str:
        return url.replace(f":{self.store.port}/", f":{self.proxies['redis'].port}/")

    def worker(self, name: str = "one") -> Worker:
        """Return one of the two workers."""
        worker = self.applications[name]
        assert isinstance(worker, Worker)
        return worker

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def _end_threads(self, threads: list[threading.Thread]) -> None:
        self._ends.set()
        for thread in threads:
            thread.join()

    @contextlib.contextmanager
    def on_purpose(self) -> Iterator[None]:
        """While the block runs, which is short, whatever ends is started by the block itself."""
        with self._lock:
            yield

    def _supervise(self) -> None:
        """Start again what has ended: with a delay, as Kubernetes does, for a server may not be able to run yet."""
        while not self._ends.wait(0.5):
            with self._lock:
                for name, application in self.applications.items():
                    if application.ended():
                        self.ended_unasked.append(name)
                        application.start()
                for name, server in (("postgres", self.postgres), ("redis", self.redis)):
                    if server.ended():
                        self.ended_unasked.append(name)
                        server.launch()
                        self._ends.wait(0.5)

    def _watch(self, name: str) -> None:
        watched = self.watched[name]
        alive = watched.probe.replace("/readyz", "/healthz")
        with httpx.Client(timeout=10) as client:
            while not self._ends.wait(0.25):
                message = _problem(client, watched.probe)
                if message is None:
                    watched.ready_since = watched.ready_since or time.monotonic()
                else:
                    watched.ready_since = None
                    if message not in watched.messages:
                        watched.messages.append(message)
                # A process that does not listen was killed, or is about to; one that says no is what Kubernetes kills.
                if (dead := _problem(client, alive)) and not dead.startswith("("):
                    watched.dead.append(dead)

    def forget(self) -> None:
        """Begin anew to note what the probes answer."""
        for watched in self.watched.values():
            watched.messages, watched.dead = [], []

    def wait_until_ready(self, since: float, seconds: float = BACK_SECONDS) -> dict[str, float]:
        """Wait until all processes are ready; return how long each took, counted from that instant."""
        deadline = time.monotonic() + seconds
        while lacking := [name for name, watched in self.watched.items() if watched.ready_since is None]:
            shown = {name: self.watched[name].messages for name in lacking}
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        return {name: max(0.0, (watched.ready_since or 0.0) - since) for name, watched in self.watched.items()}

    def import_one(self) -> None:
        """Upload one more report, and wait until it is imported."""
        with httpx.Client(timeout=10) as client:
            uploaded = self.load.upload(client, self.load.next(20))
            headers = {"Authorization": f"Bearer {self.token}"}
            self.wait(
                lambda: _get(client, f"{self.url}/api/import/{uploaded.id}", headers).get("status") == "done",
                "an import of after the fault",
            )

    def wait(self, condition: Callable[[], object], what: str, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.load.check()
            assert time.monotonic() < deadline, what
            time.sleep(0.1)

    def drain(self) -> float:
        """Pause the load, wait until all imports have ended and the queue is empty; return how long that took."""
        self.load.pause()
        began = time.monotonic()
        with Session(self.engine) as session:
            left = ["not asked yet"]
            deadline = began + DRAIN_SECONDS
            while left := unfinished(session):
                assert time.monotonic() < deadline, left
                time.sleep(0.2)
        self.wait(lambda: not any(self.queue.llen(key) for key in queues.keys(QUEUE)), "the queue does not drain")
        return time.monotonic() - began

    def check(self) -> int:
        """See that all that was uploaded is there, once and row for row; return how many imports were new."""
        with Session(self.engine) as session:
            return check_rows(session, self.load, self._known)

    def check_logs(self) -> None:
        """See that no log holds a secret."""
        logs = {path.name: path.read_text(errors="replace") for path in self.logs.glob("*.log")}
        assert {"postgres.log", "redis.log", *(f"{name}.log" for name in self.applications)} <= set(logs)
        found = [(log, name) for log, text in logs.items() for name, secret in self.secrets.items() if secret in text]
        assert found == []


def _problem(client: httpx.Client, url: str) -> str | None:
    """Return what a probe says is wrong, None for nothing; in parentheses what no process said."""
    try:
        answer = client.get(url)
    except httpx.TransportError as error:
        return f"({type(error).__name__})"
    if answer.status_code == 200:
        return None
    try:
        text = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    # Times and ports differ each time.
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", re.sub(r"for \d+ s", "for N s", text))


def _get(client: httpx.Client, url: str, headers: dict[str, str]) -> dict[str, Any]:
    try:
        answer = client.get(url, headers=headers)
        return dict(answer.json()) if answer.status_code == 200 else {}
    except httpx.TransportError:
        return {}
