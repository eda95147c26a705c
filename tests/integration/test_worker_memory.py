"""A worker's memory is the same for any number of tests. Looked at from outside, as the kernel's limit would."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings

MEGABYTE = 1_000_000


def report(tests: int) -> bytes:
    """Write a report in which each tenth test fails."""
    case = '<testcase classname="shop.module_{0}.TestCart" name="test_total[{0}]" time="0.5">{1}</testcase>\n'
    failure = "<failure message='no'>" + "a line of a traceback\n" * 20 + "</failure>"
    return f"<testsuite>{''.join(case.format(n, '' if n % 10 else failure) for n in range(tests))}</testsuite>".encode()


def workers() -> set[psutil.Process]:
    """Return the processes of all workers of this process, those that modules of tests share among them."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go.
            if "ibutsu_server:worker_app" in process.cmdline():
                found.add(process)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads the memory of processes from /proc")
def test_a_workers_memory_does_not_grow_with_the_number_of_tests(
    session: Session,
    store_upload: Callable[..., uuid.UUID],
    start_worker: Callable[..., AbstractContextManager[Path]],
    broker_url: str,
) -> None:
    celery = create_broker_celery_app(
        "tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url)
    )
    peaks = {}
    for tests in (10_000, 150_000):
        import_id = str(store_upload(report(tests)))
        others = workers()
        with start_worker():
            family = workers() - others
            assert len(family) == 2, "the worker and its child"
            sent = celery.send_task("ibutsu_server.tasks.importers.import_results", (import_id,), task_id=import_id)
            peaks[tests] = 0
            while not sent.ready():
                peaks[tests] = max(peaks[tests], sum(process.memory_full_info().pss for process in family))
                time.sleep(0.05)
        assert sent.get()["results"] == tests
    assert max(peaks.values()) < 256 * MEGABYTE
    assert peaks[150_000] - peaks[10_000] < 20 * MEGABYTE, peaks
