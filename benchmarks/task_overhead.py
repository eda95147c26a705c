"""What a task that does nothing costs through IbutsuTask, beside bare Celery with the very same settings.

Two workers run side by side, each with one child: ours as it is, with its metrics and logs, and one of plain Celery
with our configuration and nothing else. In ours runs a task of Celery's own class too, which shows what IbutsuTask is
alone, without the metrics and the logs. They get the same number of tasks in turns. Processor time counts, of the main
process and its child, and the least of all turns: other work on the machine makes each a little dearer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import redis
from celery import Celery
from common import Servers, servers

from ibutsu_core import celery_utils
from ibutsu_core.settings import CelerySettings

OURS = """
from celery import Task
from ibutsu_server import worker_app as app

@app.task(name="noop")
def noop():
    return None

@app.task(name="plain", base=Task)
def plain():
    return None
"""

BARE = """
import os
from celery import Celery
from ibutsu_core import celery_utils
from ibutsu_core.settings import CelerySettings

url = os.environ["CELERY_BROKER_URL"]
app = Celery("bare")
app.conf.update(celery_utils._configuration(CelerySettings(broker_url=url, result_backend=url)))
app.conf.task_default_queue = "bare"

@app.task(name="noop")
def noop():
    return None
"""


@contextlib.contextmanager
def worker(servers: Servers, name: str, program: str, *options: str, packages: str = "") -> Iterator[psutil.Process]:
    """Run a worker of the program's application, ready, with options of its command and a directory of packages."""
    (servers.directory / f"{name}_program.py").write_text(program)
    path = os.pathsep.join(filter(None, (str(servers.directory), packages, os.environ.get("PYTHONPATH"))))
    log = servers.directory / f"{name}.log"
    command = [sys.executable, "-m", "celery", "--app", f"{name}_program", "worker", "--hostname", f"{name}@%h"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--loglevel", "info", *options],
            env=servers.environment | {"PYTHONPATH": path},
            stdout=output,
            stderr=output,
        )
    try:
        while " ready." not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def spent(process: psutil.Process) -> float:
    """Return the seconds of processor time that a worker has had."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children()))


def run(
    celery: Celery, results: redis.Redis, case: tuple[str, str], process: psutil.Process, count: int
) -> tuple[float, float]:
    """Send so many tasks and wait for all; return the processor's seconds and the clock's for one."""
    queue, task = case
    before, begun = spent(process), time.perf_counter()
    with celery.producer_or_acquire() as producer:
        for _ in range(count):
            last = celery.send_task(task, queue=queue, producer=producer).id
    # A worker's only child does them in their order.
    while b"SUCCESS" not in (results.get(f"celery-task-meta-{last}") or b""):
        time.sleep(0.01)
    return (spent(process) - before) / count, (time.perf_counter() - begun) / count


def main() -> None:
    """Measure, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000, help="tasks in a turn")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each")
    options = parser.parse_args()
    with servers() as found, contextlib.ExitStack() as stack:
        settings = CelerySettings(broker_url=found.broker, result_backend=found.broker)
        celery = celery_utils.create_broker_celery_app("benchmark", settings=settings)
        # Whoever has a result backend subscribes to each task's result.
        celery.conf.update(result_backend="disabled://")
        results = redis.Redis.from_url(found.broker)
        programs = {"ibutsu": OURS, "bare": BARE}
        workers = {name: stack.enter_context(worker(found, name, text)) for name, text in programs.items()}
        cases = {
            "IbutsuTask": ("ibutsu", "noop"),
            "Task, in our worker": ("ibutsu", "plain"),
            "Task, bare Celery": ("bare", "noop"),
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for turn in range(options.rounds + 1):
            for name, case in cases.items():
                figure = run(celery, results, case, workers[case[0]], options.tasks)
                if turn:  # The first warms up.
                    figures[name].append(figure)
    least = {name: min(one[0] for one in each) for name, each in figures.items()}
    for name, each in figures.items():
        middle = statistics.median(one[1] for one in each)
        ratio = least["IbutsuTask"] / least[name]
        print(f"{name:<20} {least[name] * 1e6:6.0f} us of processor time, {1 / middle:5.0f} tasks/s; ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
