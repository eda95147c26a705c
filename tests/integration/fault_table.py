"""The faults, as data: each breaks something for as long as its block runs, or at once, and mends it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from fault_clock import Clock, unmovable
from fault_network import cut, uncuttable
from fault_poison import POISON
from fault_world import World
from ibutsu_core import queues
from ibutsu_core.celery_utils import QUEUE

Begin = Callable[[World], AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens, and how. `lasts` is whether it has a duration; `impossible` says why it cannot be done here."""

    name: str
    happens: Begin
    lasts: bool = True
    impossible: Callable[[World], str | None] = lambda _world: None


def at_once(act: Callable[[World], None]) -> Begin:
    """Make a fault of something that is over when it is done."""

    @contextlib.contextmanager
    def happens(world: World) -> Iterator[None]:
        with world.on_purpose():
            act(world)
        yield

    return happens


@contextlib.contextmanager
def redis_paused(world: World) -> Iterator[None]:
    world.redis.suspend()
    yield
    world.redis.resume()


@contextlib.contextmanager
def postgres_paused(world: World) -> Iterator[None]:
    world.postgres.suspend()
    yield
    world.postgres.resume()


def wipe_redis(world: World) -> None:
    """Wipe it while messages wait, which they do once the workers stand still."""
    main = [psutil.Process(world.worker(name).process.pid) for name in ("one", "two")]
    for process in main:
        process.suspend()
    world.wait(lambda: world.queue.llen(QUEUE) >= 3, "messages that wait")
    world.queue.flushall()
    for process in main:
        process.resume()


@contextlib.contextmanager
def redis_full(world: World) -> Iterator[None]:
    world.queue.config_set("maxmemory", "1mb")
    yield
    world.queue.config_set("maxmemory", "0")


def kill_redis(world: World) -> None:
    world.redis.kill()
    world.redis.start()


def kill_postgres(world: World) -> None:
    world.postgres.kill()
    world.postgres.start()


@contextlib.contextmanager
def no_connection_left(world: World) -> Iterator[None]:
    """Take all connections as soon as they are free, after all have been cut."""
    settings = world.cluster.settings
    held: list[Any] = []
    ends = threading.Event()

    def take() -> None:
        while not ends.is_set():
            try:
                held.append(_connect(settings))
            except psycopg2.Error:
                ends.wait(0.02)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    with contextlib.closing(_connect(world.superuser)) as superuser, superuser.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'ibutsu%'")
    yield
    ends.set()
    for thread in threads:
        thread.join()
    for connection in held:
        connection.close()


def _connect(settings: Any) -> Any:
    return psycopg2.connect(
        host=settings.host, port=settings.port, user=settings.user, password=settings.password,
        dbname=settings.database, connect_timeout=5,
    )  # fmt: skip


@contextlib.contextmanager
def disk_full(world: World) -> Iterator[None]:
    filler = world.disk / "filler"
    ends = threading.Event()

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            while not ends.is_set():
                try:
                    file.write(bytes(1 << 20))
                except OSError:
                    with contextlib.suppress(OSError):
                        file.write(bytes(4096))
                    ends.wait(0.1)

    thread = threading.Thread(target=fill)
    thread.start()
    yield
    ends.set()
    thread.join()
    filler.unlink()


def cut_from(server: str) -> Begin:
    """Worker `one` is cut from the server: its packets are dropped."""
    return lambda world: cut(world.proxies[server].port)


def stalled_to(server: str) -> Begin:
    """Worker `one`'s connections to the server are open, and carry nothing."""
    return lambda world: world.proxies[server].stalled()


def kill_child(world: World) -> None:
    world.wait(lambda: _kill(world.worker().children()), "a child to kill")


def _kill(children: list[psutil.Process]) -> int:
    """Kill them, and return how many were there to be killed."""
    killed = 0
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
            killed += 1
    return killed


def kill(name: str) -> Callable[[World], None]:
    """Kill the application, and start it as its supervisor would."""

    def act(world: World) -> None:
        world.applications[name].restart()

    return act


def terminate_worker(world: World) -> None:
    """End it as a pod is ended, and start another."""
    worker = world.worker()
    worker.process.terminate()
    worker.process.wait(120)
    worker.start()


@contextlib.contextmanager
def memory_short(world: World) -> Iterator[None]:
    """Put worker `one` in a control group that has less than it uses: the kernel kills what asks for more."""
    root, limit = _memory_group()
    group = root / f"ibutsu-tests-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    try:
        main = psutil.Process(world.worker().process.pid)
        family = [main, *main.children(recursive=True)]
        for process in family:
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(process.pid))
        # What was used before stays in the old group: only what is asked for from now on counts.
        (group / limit).write_text(str(4 << 20))
        yield
        (group / limit).write_text(str(1 << 40))
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (root / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):
            group.rmdir()


def _memory_group() -> tuple[Path, str]:
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        if (root / "cgroup.procs").exists() and os.access(root / "cgroup.procs", os.W_OK):
            return root, limit
    raise LookupError


def no_groups(_world: World) -> str | None:
    """Return why no memory can be limited here, None where it can."""
    try:
        _memory_group()
    except LookupError:
        return "only root can make a control group"
    return None if os.geteuid() == 0 else "only root can make a control group"


DAY = 26 * 60 * 60
"""Seconds; more than Redis keeps an unacknowledged message from others."""


def clock_moved(ahead: int) -> Begin:
    """Make worker `two` and the scheduler see another time than everybody else."""

    @contextlib.contextmanager
    def happens(world: World) -> Iterator[None]:
        clock = Clock(world.logs)
        with world.on_purpose():
            for name in ("two", "scheduler"):
                world.applications[name].restart(**clock.variables)
        world.import_one()
        world.wait_until_ready(time.monotonic())
        clock.set(ahead)
        yield
        clock.set(0)

    return happens


@contextlib.contextmanager
def poison(world: World) -> Iterator[None]:
    """Put each on the queue twice, so that both workers meet some; they are to keep none of them in hand."""
    messages = [make() for make in [*POISON.values()] * 2]
    random.Random(0).shuffle(messages)
    for message in messages:
        world.queue.lpush(QUEUE, message)
        time.sleep(0.05)
    yield
    # It comes behind them all.
    world.import_one()
    tags = {found[1] for found in map(DELIVERY_TAG.search, map(str, messages)) if found}
    assert len(tags) > len(POISON), "most can be taken in hand"
    world.wait(lambda: not tags & _in_hand(world), "a poison message stays in a worker's hands")


DELIVERY_TAG = re.compile(r'"delivery_tag": "([0-9a-f-]{36})"')


def _in_hand(world: World) -> set[str]:
    keys: Any = world.queue.hkeys(queues.UNACKNOWLEDGED)
    return {key.decode() for key in keys}


FAULTS: tuple[Fault, ...] = (
    Fault("Redis is restarted", at_once(lambda world: world.redis.restart()), lasts=False),
    Fault("Redis is paused (SIGSTOP)", redis_paused),
    Fault("Redis is killed, and has its append-only file", at_once(kill_redis), lasts=False),
    Fault("Redis is wiped (FLUSHALL)", at_once(wipe_redis), lasts=False),
    Fault("Redis is full", redis_full),
    Fault("PostgreSQL is restarted", at_once(lambda world: world.postgres.restart()), lasts=False),
    Fault("PostgreSQL is paused (SIGSTOP)", postgres_paused),
    Fault("PostgreSQL is killed", at_once(kill_postgres), lasts=False),
    Fault("PostgreSQL has no connection left", no_connection_left),
    Fault("PostgreSQL's disk is full", disk_full,
          impossible=lambda world: None if world.disk_is_small else "only root can mount a small file system"),
    Fault("a worker is cut from Redis", cut_from("redis"), impossible=lambda _world: uncuttable()),
    Fault("a worker is cut from PostgreSQL", cut_from("postgres"), impossible=lambda _world: uncuttable()),
    Fault("a worker's connections to Redis stall", stalled_to("redis")),
    Fault("a worker's connections to PostgreSQL stall", stalled_to("postgres")),
    Fault("a worker's child is killed", at_once(kill_child), lasts=False),
    Fault("a worker is killed", at_once(kill("one")), lasts=False),
    Fault("a worker is ended (SIGTERM)", at_once(terminate_worker), lasts=False),
    Fault("a worker has too little memory", memory_short, impossible=no_groups),
    Fault("the scheduler is killed", at_once(kill("scheduler")), lasts=False),
    Fault("Flower is killed", at_once(kill("flower")), lasts=False),
    Fault("the API is killed", at_once(kill("api")), lasts=False),
    Fault("a worker's and the scheduler's clock goes forward by 26 hours, and back", clock_moved(DAY),
          impossible=lambda _world: unmovable()),
    Fault("a worker's and the scheduler's clock goes back by 26 hours, and forward", clock_moved(-DAY),
          impossible=lambda _world: unmovable()),
    Fault("poison messages", poison, lasts=False),
)  # fmt: skip
