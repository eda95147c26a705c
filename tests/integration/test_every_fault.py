"""One fault after the other, under load: nothing is lost or doubled, and all is back at work without a hand.

The figures of docs/reliability.md are those of

    IBUTSU_FAULT_SECONDS=60 python -m pytest -s -m slow tests/integration/test_every_fault.py
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from fault_table import FAULTS, Fault
from fault_world import DISK, World
from ibutsu_core.celery_utils import QUEUE

SECONDS = float(os.environ.get("IBUTSU_FAULT_SECONDS", "2"))
"""How long a fault lasts that has a duration."""

THOROUGH = "IBUTSU_FAULT_SECONDS" in os.environ
"""Whether the queue is drained and all rows compared after each fault, not only after the last."""

IMPORTS = int(os.environ.get("IBUTSU_FAULT_IMPORTS", "200"))
"""How many imports are queued while workers come and go."""

LOAD_SECONDS = float(os.environ.get("IBUTSU_FAULT_LOAD_SECONDS", "10"))
"""How long memory is looked at."""

MEGABYTE = 1_000_000

ONLY = os.environ.get("IBUTSU_FAULT_ONLY", "")
"""A part of the names of the faults that are tried."""


@pytest.fixture(scope="module")
def world(server_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for all faults of the module."""
    directory = Path(tempfile.mkdtemp(prefix="world-", dir=server_directory))
    directory.chmod(0o755)
    # Load fills 0.7 MB a second of the disk.
    disk = DISK + int(LOAD_SECONDS) * (1 << 20)
    world = World(directory, tmp_path_factory.mktemp("logs"), disk=disk)
    yield world
    world.close()


def suffer(world: World, fault: Fault) -> str:
    """Let the fault happen, see that all is back at work after it, and return a row of the table."""
    world.forget()
    world.load.refusals.clear()
    with fault.happens(world):
        if fault.lasts:
            time.sleep(SECONDS)
    ended = time.monotonic()
    world.import_one()
    imported = time.monotonic() - ended
    ready = world.wait_until_ready(ended)
    drained = ""
    if THOROUGH:
        # An answer of before the fault counts for some seconds.
        time.sleep(6)
        ready = world.wait_until_ready(ended)
        drained = f"{world.drain():.0f} s"
        world.check()
        world.load.resume()
    ended_unasked, world.ended_unasked = world.ended_unasked, []
    assert not [name for name in ended_unasked if name in world.applications and "memory" not in fault.name]
    dead = {name: watched.dead for name, watched in world.watched.items() if watched.dead}
    assert dead == {}, "Kubernetes would restart what says that it is dead"
    columns = [
        fault.name,
        f"{SECONDS:.0f} s" if fault.lasts else "at once",
        "<br>".join(f"{name}: {' '.join(one.messages)}" for name, one in world.watched.items() if one.messages),
        ", ".join(f"{count} x {what}" for what, count in world.load.refusals.items()),
        ", ".join(f"{name} {seconds:.0f} s" for name, seconds in ready.items() if seconds >= 1),
        f"{imported:.1f} s",
        drained,
    ]
    return " | ".join(["", *columns, ""]).strip()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_is_lost_or_doubled_and_all_is_back_at_work_after_every_fault(world: World) -> None:
    failures: dict[str, str] = {}
    world.load.resume()
    world.import_one()
    for fault in (fault for fault in FAULTS if re.search(ONLY, fault.name)):
        if reason := fault.impossible(world):
            print(f"| {fault.name} | not tried: {reason} |", flush=True)
            continue
        try:
            print(suffer(world, fault), flush=True)
        except AssertionError as error:
            failures[fault.name] = str(error)
            print(f"| {fault.name} | FAILED: {error} |", flush=True)
    print(f"drained in {world.drain():.0f} s", flush=True)
    assert failures == {}
    assert world.ended_unasked == [], "late, after the last fault"
    world.check()
    world.check_logs()
    print(f"{len(world.load.uploaded)} uploads, each imported once, row for row", flush=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_long_queue_is_worked_off_while_workers_come_and_go(world: World) -> None:
    world.load.pause()
    workers = [world.worker(name) for name in ("one", "two")]
    draw = random.Random(IMPORTS)
    with world.on_purpose():
        for worker in workers:
            worker.kill()
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool, httpx.Client(timeout=60) as client:
            list(pool.map(lambda _: world.load.upload(client, world.load.next(5)), range(IMPORTS)))
        print(f"{IMPORTS} uploads in {time.monotonic() - began:.0f} s, {world.queue.llen(QUEUE)} messages", flush=True)
        began = time.monotonic()
        for worker in workers:
            worker.start()
    gone = 0
    while world.queue.llen(QUEUE) > IMPORTS // 10:
        time.sleep(draw.uniform(1, 5))
        world.load.check()
        with world.on_purpose():
            worker = draw.choice(workers)
            if not worker.ready():
                continue
            gone += 1
            if draw.random() < 0.5:
                worker.kill()
            else:
                worker.process.terminate()
                worker.process.wait(120)
            worker.start()
    world.drain()
    print(f"imported in {time.monotonic() - began:.0f} s, while workers went {gone} times", flush=True)
    world.check()
    world.check_logs()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_memory_is_flat_under_load(world: World) -> None:
    with world.on_purpose():
        # Flower grows until it remembers as many tasks as it may; that is to be in the first minutes.
        world.applications["flower"].restart(FLOWER_MAX_TASKS="500")
    world.load.resume()
    world.wait_until_ready(time.monotonic())
    for _ in range(4):
        world.import_one()
    before = len(world.load.uploaded)
    began = time.monotonic()
    found: dict[str, list[float]] = {name: [] for name in (*world.applications, "redis")}
    while time.monotonic() < began + LOAD_SECONDS:
        for name, application in world.applications.items():
            found[name].append(memory(application.process.pid))
        found["redis"].append(world.queue.info("memory")["used_memory"])
        world.load.check()
        time.sleep(min(5.0, LOAD_SECONDS / 20))
    world.drain()
    print(f"{len(world.load.uploaded) - before} imports in {LOAD_SECONDS:.0f} s", flush=True)
    growth = {}
    for name, sizes in found.items():
        # The first fifth is the warming up.
        steady = [size / MEGABYTE for size in sizes[len(sizes) // 5 :]]
        quarter = max(1, len(steady) // 4)
        first, last = statistics.median(steady[:quarter]), statistics.median(steady[-quarter:])
        growth[name] = last - first
        print(f"| {name} | {first:.1f} MB | {last:.1f} MB | {max(steady):.1f} MB |", flush=True)
    assert max(growth.values()) < 20, growth
    world.check()
    world.check_logs()


def memory(pid: int) -> int:
    """Return the memory of a process and its children, in bytes; what they share counts once."""
    total = 0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total
