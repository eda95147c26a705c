"""What pruning in batches costs beside one raw DELETE of the same rows, and what imports beside it lose.

    python benchmarks/pruning.py [RESULTS] [OLD] [REPORT_TESTS]

Of RESULTS stored ones, in runs of 1,000, the oldest OLD are deleted: once by `store.retention`, as the task does it,
and once by one DELETE, with the same foreign keys and indexes, both while a real worker imports one report of
REPORT_TESTS tests after the other. The imports' own speed is taken before, between and after. A lock is what others
can wait for: the longest is that of the longest transaction that had rows of the table locked, seen by a look at
`pg_locks` every few milliseconds. On a busy machine the time on the processor, of PostgreSQL's process that deletes,
says more than the clock.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import threading
import time
from collections.abc import Callable, Iterator

import common
import psutil
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

from ibutsu_core.retention import Kind, RetentionPolicy
from ibutsu_server.store import local, policies, projects, retention
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.database import create_engine

PRUNER = "benchmark-pruner"

FILL = """
    WITH made AS (
        INSERT INTO runs (id, project_id, start_time)
        SELECT gen_random_uuid(), :project, CAST(:oldest AS timestamptz) + number * interval '1 second'
        FROM generate_series(1, :runs) AS number RETURNING id, project_id, start_time
    )
    INSERT INTO results (id, run_id, project_id, test_id, result, start_time, duration, source, metadata)
    SELECT gen_random_uuid(), made.id, made.project_id, 'shop.module.TestCart.test_total[' || number || ']', 'passed',
           made.start_time, 0.1, 'pytest', jsonb_build_object('run', made.id, 'fspath', 'tests/shop/module.py',
           'durations', jsonb_build_object('call', 0.1), 'statuses', jsonb_build_object('call', 'passed'))
    FROM made, generate_series(1, 1000) AS number
"""
"""A thousand results a run, all of a run with one time, as JUnit gives them."""

LONGEST = sa.text(
    """
    SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
    WHERE application_name = :name AND EXISTS (
        SELECT FROM pg_locks WHERE pg_locks.pid = pg_stat_activity.pid AND relation = 'results'::regclass
        AND mode = 'RowExclusiveLock' AND granted)
    """
)


class Imports(threading.Thread):
    """Imports one report after the other, and notes when each was done."""

    def __init__(self, servers: common.Servers, celery: Celery, tests: int) -> None:
        super().__init__()
        self._servers, self._celery = servers, celery
        self._path = common.report(servers.directory / "load.xml", tests)
        text = self._path.read_text()
        self._path.write_text(
            text.replace("2026-03-01T10:00:00", dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        )
        self._end = threading.Event()
        self.done: list[float] = []

    def run(self) -> None:
        with common.session(self._servers) as session:
            while not self._end.is_set():
                common.imported(self._celery, [common.upload(session, self._path)])
                self.done.append(time.perf_counter())

    def stop(self) -> None:
        self._end.set()
        self.join()

    def rate(self, begin: float, end: float) -> float:
        """Return the imports a second whose end lies in the span, from the first of them to the last."""
        within = [one for one in self.done if begin <= one <= end]
        return (len(within) - 1) / (within[-1] - within[0]) if len(within) > 2 else float("nan")


@contextlib.contextmanager
def longest_lock(servers: common.Servers, name: str) -> Iterator[list[float]]:
    """Gives a list whose last value is the longest time, in seconds, that rows of results were locked."""
    seen, end = [0.0], threading.Event()

    def look() -> None:
        with common.session(servers) as session:
            connection = session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            while not end.wait(0.005):
                seen[0] = max(seen[0], float(connection.scalar(LONGEST, {"name": name}) or 0))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield seen
    finally:
        end.set()
        looker.join()


def fill(session: Session, results: int, old: int, now: dt.datetime) -> dt.datetime:
    """Store the results, so many of them older than five months; return the instant between."""
    project = projects.find(session, local.LOCAL_PROJECT)
    assert project is not None
    common.empty(session)
    between = now - dt.timedelta(days=160)
    for count, oldest in ((old, between - dt.timedelta(days=20)), (results - old, between + dt.timedelta(days=60))):
        session.execute(sa.text(FILL), {"project": project.id, "oldest": oldest, "runs": count // 1000})
        session.commit()
    session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(sa.text("VACUUM ANALYZE results"))
    session.commit()
    session.connection(execution_options={"isolation_level": "READ COMMITTED"})
    return between


def in_batches(connection: sa.Connection, _between: dt.datetime, now: dt.datetime) -> int:
    """Prune as the task does."""
    with connection.begin():
        found = policies.read(connection, RetentionPolicy())
    batches = Batches(connection)
    pruned = retention.prune(batches, found, (Kind.RESULTS,), now)
    print(f"    {batches.count:,} batches, {batches.stepped_back} stepped back, {pruned.in_use} rows in use")
    return pruned.results.gone


def raw(connection: sa.Connection, between: dt.datetime, _now: dt.datetime) -> int:
    """Delete all at once."""
    with connection.begin():
        return connection.execute(
            sa.text("DELETE FROM results WHERE start_time < :between"), {"between": between}
        ).rowcount


def measure(
    servers: common.Servers, celery: Celery, sizes: tuple[int, int, int], how: Callable[..., int], *, beside: bool
) -> float:
    """Measure one way; return its rows a second."""
    results, old, tests = sizes
    now = dt.datetime.now(dt.UTC)
    with common.session(servers) as session:
        between = fill(session, results, old, now)
    engine = create_engine(servers.database, application=PRUNER, pool_size=1)
    imports = Imports(servers, celery, tests)
    if beside:
        imports.start()
        while len(imports.done) < 8:
            time.sleep(0.05)
    with longest_lock(servers, PRUNER) as longest, engine.connect() as connection:
        with connection.begin():
            process = psutil.Process(connection.scalar(sa.text("SELECT pg_backend_pid()")))
        spent = sum(process.cpu_times()[:2])
        begin = time.perf_counter()
        count = how(connection, between, now)
        end = time.perf_counter()
        spent = sum(process.cpu_times()[:2]) - spent
    if beside:
        while len(imports.done) < 16 or imports.done[-8] < end:
            time.sleep(0.05)
        imports.stop()
    engine.dispose()
    assert count == old, (count, old)
    rate = count / (end - begin)
    clocks = f"{end - begin:8.2f} s {spent:6.2f} s on the processor {rate:10,.0f} results/s"
    print(f"  {how.__name__:<12}{clocks}   longest lock {longest[0] * 1000:,.0f} ms")
    if beside:
        alone = [imports.rate(0, begin), imports.rate(end, float("inf"))]
        during = imports.rate(begin, end)
        print(f"    imports/s: {alone[0]:.2f} before, {during:.2f} beside, {alone[1]:.2f} after", end="")
        print(f": {during / (sum(alone) / 2):.2f} of their own speed")
    return rate


def main() -> None:
    numbers = [int(one) for one in sys.argv[1:]]
    results, old, tests = (*numbers, *(2_000_000, 1_000_000, 1000)[len(numbers) :])
    with common.servers() as servers, common.worker(servers):
        celery = common.sender(servers)
        for beside in (False, True):
            print(f"\n{old:,} of {results:,} results, {'imports beside' if beside else 'nothing beside'}:")
            rates = [measure(servers, celery, (results, old, tests), how, beside=beside) for how in (raw, in_batches)]
            print(f"  in batches at {rates[1] / rates[0]:.2f} of the rate of one DELETE")


if __name__ == "__main__":
    main()
