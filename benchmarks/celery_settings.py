"""What each of Celery's settings costs, beside its alternatives: one change at a time from our configuration.

    python benchmarks/celery_settings.py [--only tasks waits starts idle] [--hiredis DIRECTORY]

`tasks`: tasks through our worker, with one child, and through a second one with the change, in turns; the sender has
the change too. The figures are medians of the alternative's by ours, the turns' one by one. The first line changes
nothing, and shows how far the machine is to be trusted. `waits`: what tasks wait while one of two workers is busy.
`starts`: from nothing to ready, alone and beside two other workers. `idle`: what three workers do that have no task.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import common
import psutil
import redis
from celery import Celery
from kombu import pools
from start_time import started
from task_overhead import spent, worker

from ibutsu_core.celery_utils import TRANSPORT_OPTIONS

PROGRAM = """
import os, time, uuid
import redis
from ibutsu_server import worker_app as app

app.conf.update({changes!r})
store = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])
page = [
    {{"id": str(uuid.uuid4()), "test_id": f"shop.module_{{n // 50}}.TestCart.test_total[{{n}}]", "result": "passed",
     "duration": n / 1000, "component": "cart", "env": "stage", "run_id": "74f60123-0e1f-4b4c-9d1e-57a3b9f1f6a0",
     "start_time": f"2026-03-01T10:{{n // 60 % 60:02}}:{{n % 60:02}}+00:00", "metadata": {{"build": n // 100}}}}
    for n in range(4000)
]

@app.task(name="noop")
def noop():
    return None

@app.task(name="page")
def make_page():
    return {{"results": page}}

@app.task(name="tell")
def tell(key, seconds=0):
    store.rpush(key, time.time())
    time.sleep(seconds)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Our configuration with a change: to the settings, to the worker's command, or to the packages that it finds."""

    name: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: tuple[str, ...] = ()
    packages: str = ""
    task: str = "noop"

    def program(self, queue: str) -> str:
        """The worker's, which takes from that queue."""
        return PROGRAM.format(changes={**self.changes, "task_default_queue": queue})


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What a task took: seconds, what was asked of Redis, and bytes there for its result."""

    worker: float
    clock: float
    sender: float
    commands: float
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """A worker that runs with a case's configuration."""

    case: Case
    queue: str
    process: psutil.Process


def transport(**changes: object) -> dict[str, Any]:
    """The change of those options of the transport."""
    return {"broker_transport_options": {**TRANSPORT_OPTIONS, **changes}}


OURS = Case("nothing changed")

TASKS = (
    OURS,
    Case("worker_prefetch_multiplier 4", {"worker_prefetch_multiplier": 4}),
    Case("worker_disable_prefetch", {"worker_disable_prefetch": True}),
    Case("task_acks_late off", {"task_acks_late": False}),
    Case("task_track_started off", {"task_track_started": False}),
    Case("result_extended off", {"result_extended": False}),
    Case("worker_send_task_events off", {"worker_send_task_events": False}),
    Case("task_send_sent_event off", {"task_send_sent_event": False}),
    Case("task_ignore_result", {"task_ignore_result": True}),
    Case("result_compression gzip", {"result_compression": "gzip"}),
    Case("the same, 1 MB of results", {"result_compression": "gzip"}, task="page"),
    Case("task_compression gzip", {"task_compression": "gzip"}),
    Case("broker_pool_limit 1", {"broker_pool_limit": 1}),
    Case("broker_pool_limit none", {"broker_pool_limit": None}),
    Case("socket_timeout none", {**transport(socket_timeout=None), "redis_socket_timeout": None}),
    Case("health_check_interval 5", {**transport(health_check_interval=5), "redis_backend_health_check_interval": 5}),
    Case("worker_disable_rate_limits", {"worker_disable_rate_limits": True}),
)

WAITS = (
    OURS,
    Case("worker_prefetch_multiplier 4", {"worker_prefetch_multiplier": 4}),
    Case("task_acks_late off", {"task_acks_late": False}),
    Case("both", {"worker_prefetch_multiplier": 4, "task_acks_late": False}),
    Case("task_acks_late off, no prefetch", {"worker_disable_prefetch": True, "task_acks_late": False}),
)

STARTS = (
    OURS,
    Case("with Celery's consumer", {"worker_consumer": "celery.worker.consumer:Consumer"}),
    Case("--without-mingle", options=("--without-mingle",)),
    Case("--without-gossip", options=("--without-gossip",)),
    Case("--without-heartbeat", options=("--without-heartbeat",)),
    Case("worker_detect_quorum_queues off", {"worker_detect_quorum_queues": False}),
)

IDLE = (
    OURS,
    Case("--without-gossip", options=("--without-gossip",)),
    Case("--without-heartbeat", options=("--without-heartbeat",)),
    Case("polling_interval 10", transport(polling_interval=10)),
)


@contextlib.contextmanager
def sender(servers: common.Servers, case: Case) -> Iterator[Celery]:
    """What tasks are sent with."""
    celery = common.sender(servers)
    # Whoever has a result backend subscribes to each task's result.
    celery.conf.update({**case.changes, "result_backend": "disabled://", "result_compression": None})
    try:
        yield celery
    finally:
        # The limit of the pools is the process's, not the application's.
        celery.close()
        pools.reset()


def commands(store: redis.Redis) -> int:
    """Return how many commands Redis has had."""
    return sum(each["calls"] for each in store.info("commandstats").values())


def told(celery: Celery, store: redis.Redis, queue: str) -> None:
    """Wait for all that was sent before: a worker's only child does its tasks in their order."""
    key = uuid.uuid4().hex
    celery.send_task("tell", (key,), queue=queue)
    assert store.blpop([key], timeout=600)


def run(servers: common.Servers, store: redis.Redis, side: Side, task: str, count: int) -> Turn:
    """Send the task so often, and wait for all of them; then look at the memory of one's result."""
    with sender(servers, side.case) as celery:
        told(celery, store, side.queue)
        asked, used, begun, own = commands(store), spent(side.process), time.perf_counter(), time.process_time()
        for _ in range(count):
            last = celery.send_task(task, queue=side.queue).id
        own = time.process_time() - own
        told(celery, store, side.queue)
        return Turn(
            worker=(spent(side.process) - used) / count,
            clock=(time.perf_counter() - begun) / count,
            sender=own / count,
            commands=(commands(store) - asked) / count,
            size=int(store.memory_usage(f"celery-task-meta-{last}") or 0),
        )


def compare_tasks(servers: common.Servers, store: redis.Redis, cases: tuple[Case, ...], count: int, turns: int) -> None:
    """Print what a task costs with each change, of what it costs with our configuration."""
    print(f"{'a task':<32} {'worker':>7} {'clock':>7} {'sender':>7} {'commands':>14} {'bytes of its result':>22}")
    with worker(servers, "ours", OURS.program("ours")) as ours:
        for number, case in enumerate(cases):
            name = f"other{number}"
            with worker(servers, name, case.program(name), packages=case.packages) as other:
                sides = (Side(OURS, "ours", ours), Side(case, name, other))
                tasks = count if case.task == OURS.task else count // 50
                pairs = [[run(servers, store, side, case.task, tasks) for side in sides] for _ in range(turns + 1)]
            del pairs[0]  # It warms up.
            ratios = " ".join(
                f"{statistics.median(getattr(two, of) / getattr(one, of) for one, two in pairs):>7.3f}"
                for of in ("worker", "clock", "sender")
            )
            asked, sizes = (
                [statistics.median(getattr(pair[side], of) for pair in pairs) for side in (0, 1)]
                for of in ("commands", "size")
            )
            print(
                f"{case.name:<32} {ratios} {asked[0]:>6.1f} -> {asked[1]:<4.1f} {sizes[0]:>10.0f} -> {sizes[1]:<8.0f}",
                flush=True,
            )


@contextlib.contextmanager
def workers(servers: common.Servers, case: Case, count: int) -> Iterator[list[psutil.Process]]:
    """Run so many workers of the same queue."""
    with contextlib.ExitStack() as stack:
        names = [f"worker{n}" for n in range(count)]
        program = case.program("shared")
        yield [stack.enter_context(worker(servers, name, program, *case.options)) for name in names]


def compare_waits(servers: common.Servers, store: redis.Redis, busy: float, turns: int, count: int = 8) -> None:
    """Print what short tasks wait while one of two workers has a long one."""
    print(f"\n{count} short tasks, {turns} times, with one of two workers busy for {busy:g} s")
    for case in WAITS:
        waited: list[float] = []
        with workers(servers, case, 2), sender(servers, case) as celery:
            for _ in range(turns):
                began, key = uuid.uuid4().hex, uuid.uuid4().hex
                celery.send_task("tell", (began, busy), queue="shared")
                assert store.blpop([began], timeout=60)
                sent = time.time()
                for _ in range(count):
                    celery.send_task("tell", (key,), queue="shared")
                while store.llen(key) < count or time.time() < sent + busy:
                    time.sleep(0.1)
                waited += [float(one) - sent for one in store.lrange(key, 0, -1)]
        late = sum(one > busy / 2 for one in waited)
        middle, longest = statistics.median(waited) * 1e3, max(waited) * 1e3
        print(f"{case.name:<32} wait {middle:.0f} ms, at most {longest:.0f}; {late} of {len(waited)} for the long one")


def compare_starts(servers: common.Servers, turns: int) -> None:
    """Print how long a worker takes to be ready, of what it takes with our configuration."""
    path = os.pathsep.join(filter(None, (str(servers.directory), os.environ.get("PYTHONPATH"))))
    for number, case in enumerate(STARTS):
        (servers.directory / f"start{number}.py").write_text(case.program("starting"))
    for others in (0, 2):
        seconds: list[list[float]] = [[] for _ in STARTS]
        with workers(servers, OURS, others):
            for _ in range(turns):
                for number, case in enumerate(STARTS):
                    command = (sys.executable, "-m", "celery", "--app", f"start{number}", "worker", *case.options)
                    environment = {**servers.environment, "PYTHONPATH": path}
                    log = servers.directory / "start.log"
                    seconds[number].append(started(command, environment, lambda it: " ready." in it.read_text(), log))
        print(f"\nto ready, beside {others} other workers")
        for case, taken in zip(STARTS, seconds, strict=True):
            ratio = statistics.median(one / ours for one, ours in zip(taken, seconds[0], strict=True))
            print(f"{case.name:<32} {ratio:>7.3f} ({statistics.median(taken):.2f} s)", flush=True)


def compare_idle(servers: common.Servers, store: redis.Redis, seconds: float) -> None:
    """Print what a worker does that has no task and two neighbours."""
    print(f"\nan idle worker of three, {seconds:g} s")
    for case in IDLE:
        with workers(servers, case, 3) as processes:
            time.sleep(50)  # The repair that each sends at its start comes after 45 s.
            asked, used = commands(store), sum(map(spent, processes))
            time.sleep(seconds)
            used, asked = sum(map(spent, processes)) - used, commands(store) - asked
        share, rate = used / seconds / 3, asked / seconds / 3
        print(f"{case.name:<32} {share:>8.3%} of a processor, {rate:>5.1f} commands/s", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["tasks", "waits", "starts", "idle"])
    parser.add_argument("--tasks", type=int, default=500, help="tasks in a turn")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--hiredis", help="where `pip install --target` has put hiredis, to measure it too")
    options = parser.parse_args()
    cases = TASKS + ((Case("with hiredis", packages=options.hiredis),) if options.hiredis else ())
    with common.servers() as servers, redis.Redis.from_url(servers.broker, socket_timeout=None) as store:
        if "tasks" in options.only:
            compare_tasks(servers, store, cases, options.tasks, options.turns)
        if "waits" in options.only:
            compare_waits(servers, store, busy=4, turns=options.turns)
        if "starts" in options.only:
            compare_starts(servers, options.turns)
        if "idle" in options.only:
            compare_idle(servers, store, 40)


if __name__ == "__main__":
    main()
