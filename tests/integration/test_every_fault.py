"""One fault after the other, under load: nothing is lost or doubled, and all is back at work without a hand.

The figures of docs/reliability.md are those of

    IBUTSU_FAULT_SECONDS=60 python -m pytest -s -m slow tests/integration/test_every_fault.py
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fault_table import FAULTS, Fault
from fault_world import World

SECONDS = float(os.environ.get("IBUTSU_FAULT_SECONDS", "3"))
"""How long a fault lasts that has a duration."""

THOROUGH = "IBUTSU_FAULT_SECONDS" in os.environ
"""Whether the queue is drained and all rows compared after each fault, not only after the last."""

ONLY = os.environ.get("IBUTSU_FAULT_ONLY", "")
"""A part of the names of the faults that are tried."""


@pytest.fixture(scope="module")
def world(server_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for all faults of the module."""
    directory = Path(tempfile.mkdtemp(prefix="world-", dir=server_directory))
    directory.chmod(0o755)
    world = World(directory, tmp_path_factory.mktemp("logs"))
    yield world
    world.close()


def suffer(world: World, fault: Fault) -> str:
    """Let the fault happen, see that all is back at work after it, and return a row of the table."""
    world.forget()
    world.ended_unasked.clear()
    world.load.refusals.clear()
    with fault.happens(world):
        if fault.lasts:
            time.sleep(SECONDS)
    ended = time.monotonic()
    world.import_one()
    imported = time.monotonic() - ended
    world.wait_until_ready(ended)
    # An answer of before the fault counts for some seconds.
    time.sleep(6)
    ready = world.wait_until_ready(ended)
    drained = ""
    if THOROUGH:
        drained = f"{world.drain():.0f} s"
        world.check()
        world.load.resume()
    assert not [name for name in world.ended_unasked if name in world.applications and "memory" not in fault.name]
    dead = {name: watched.dead for name, watched in world.watched.items() if watched.dead and name != "api"}
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
@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_doubled_and_all_is_back_at_work_after_every_fault(world: World) -> None:
    world.load.resume()
    world.import_one()
    for fault in (fault for fault in FAULTS if re.search(ONLY, fault.name)):
        if reason := fault.impossible(world):
            print(f"| {fault.name} | not tried: {reason} |", flush=True)
            continue
        print(suffer(world, fault), flush=True)
    print(f"drained in {world.drain():.0f} s", flush=True)
    world.check()
    world.check_logs()
    print(f"{len(world.load.uploaded)} uploads, each imported once, row for row", flush=True)
