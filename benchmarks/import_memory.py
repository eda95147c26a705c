"""The memory of a worker that imports 10,000 and 1,000,000 tests, within a limit of 256 MB.

    python benchmarks/import_memory.py [TESTS...]

The worker, its child and whatever they start are in a control group with that limit where this process may make one
(as root, on Linux); beyond it the kernel would kill them. Memory is the sum of both processes' proportional set size,
looked at twenty times a second.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import common
import psutil

LIMIT = 256 * 1000 * 1000
"""Bytes."""

_GROUPS = ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max"))


@contextlib.contextmanager
def limited(pid: int) -> Iterator[bool]:
    """Put the process and its children in a control group with the limit; gives whether that could be done."""
    for root, limit in _GROUPS:
        group = root / f"ibutsu-benchmark-{pid}"
        try:
            group.mkdir()
            (group / limit).write_text(str(LIMIT))
            processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for process in processes:
                (group / "cgroup.procs").write_text(str(process.pid))
        except OSError:
            continue
        try:
            yield True
        finally:
            for process in processes:
                with contextlib.suppress(OSError):
                    (root / "cgroup.procs").write_text(str(process.pid))
            with contextlib.suppress(OSError):
                group.rmdir()
        return
    yield False


class Watch:
    """The most memory that a process and its children have had together, in bytes."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._end = threading.Event()
        self.peak = 0
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.is_set():
            family = [self._process, *self._process.children(recursive=True)]
            self.peak = max(self.peak, sum(process.memory_full_info().pss for process in family))
            time.sleep(0.05)


if __name__ == "__main__":
    sizes = [int(size) for size in sys.argv[1:]] or [10_000, 1_000_000]
    peaks = {}
    with common.servers() as servers, common.session(servers) as session:
        celery = common.sender(servers)
        for tests in sizes:
            path = common.report(servers.directory / "report.xml", tests)
            with common.worker(servers) as worker, limited(worker.pid) as is_limited, Watch(worker.pid) as watch:
                seconds = common.imported(celery, [common.upload(session, path)])
            peaks[tests] = watch.peak
            limit = f"limited to {LIMIT // 1_000_000} MB" if is_limited else "no limit could be set here"
            print(f"{tests:>9,} tests ({path.stat().st_size / 1e6:,.1f} MB) in {seconds:,.1f} s: "
                  f"{watch.peak / 1e6:.1f} MB at the most; {limit}", flush=True)  # fmt: skip
            common.empty(session)
    print(f"the difference is {(max(peaks.values()) - min(peaks.values())) / 1e6:.1f} MB")
