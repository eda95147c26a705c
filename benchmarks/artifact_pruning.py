"""Whether old artifacts go in a time that does not depend on their bytes, and whether the disk comes back.

    python benchmarks/artifact_pruning.py [SMALL_GB] [LARGE_GB] [FILES] [REPORT_TESTS]

A month of FILES artifacts of random bytes is stored and dropped by `store.partitions`, as retention does it, while a
real worker imports one report of REPORT_TESTS tests after the other: with SMALL_GB, with LARGE_GB in as many files, and
with LARGE_GB in files as large as the first ones. For comparison SMALL_GB are deleted by one raw DELETE, which gives
nothing back.

"Gone" is the time until others find the content gone, "all" until the files and the rows of the artifacts are gone,
too. In between the file system frees the blocks, for which nobody but the task waits; "rm" is what it takes alone to
remove files of as many bytes in the same directory. The data directory is looked at before and after, without the
write-ahead log. The longest lock is that of the longest transaction that held one under which others could wait, seen
by a look at `pg_locks` every few milliseconds.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import common
import sqlalchemy as sa
from uuid_utils import uuid7

from ibutsu_server.store import partitions
from ibutsu_server.store.chunks import SIZE as CHUNK_SIZE
from ibutsu_server.store.copy_format import END, HEADER
from ibutsu_server.store.copy_rows import ARTIFACT_COLUMNS, CHUNK_COLUMNS, ArtifactRows
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.partition_bounds import first_id

OLD = dt.datetime(2020, 5, 15, tzinfo=dt.UTC)
CUTOFF = dt.datetime(2020, 6, 1, tzinfo=dt.UTC)
NOTHING = "SELECT NULL::uuid WHERE false"
PRUNER = "benchmark-pruner"
SEGMENT = 1024**3
"""Bytes of a file of PostgreSQL's at most."""

LOCKS = sa.text(
    """
    SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
    WHERE application_name = :name AND pid IN (
        SELECT pid FROM pg_locks WHERE granted AND locktype = 'relation' AND relation > 16383
        AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock'))
    """
)

ANY = sa.text("SELECT EXISTS (SELECT FROM artifact_chunks WHERE artifact_id < :end)")


class Beside(threading.Thread):
    """Repeats something until the block ends."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.is_set():
            self.step()

    def step(self) -> None:
        raise NotImplementedError


class Imports(Beside):
    """Imports one report after the other; `done` are the seconds of each."""

    def __init__(self, servers: common.Servers, tests: int) -> None:
        super().__init__()
        self._servers = servers
        self._path = common.report(servers.directory / "beside.xml", tests)
        self._celery = common.sender(servers)
        self.done: list[float] = []

    def step(self) -> None:
        with common.session(self._servers) as session:
            self.done.append(common.imported(self._celery, [common.upload(session, self._path)]))


class Look(Beside):
    """Looks at the pruner's locks, and for content; `longest` is in seconds, `gone` the time when there was none."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        self._engine = engine
        self.longest = self.gone = 0.0

    def step(self) -> None:
        with self._engine.connect() as connection:
            self.longest = max(self.longest, float(connection.scalar(LOCKS, {"name": PRUNER}) or 0))
            if not self.gone and not connection.scalar(ANY, {"end": first_id(CUTOFF)}):
                self.gone = time.perf_counter()
        time.sleep(0.002)


def fill(engine: sa.Engine, files: int, size: int) -> None:
    """Store so many artifacts of so many bytes each, as imports do, made in the old month."""
    pool = [os.urandom(CHUNK_SIZE) for _ in range(32)]
    rows = ArtifactRows(OLD)
    with engine.connect() as connection:
        partitions.ensure(connection, OLD, 0)
    with engine.begin() as connection:
        run = uuid.uuid4()
        connection.execute(sa.text("INSERT INTO runs (id) VALUES (:run)"), {"run": run})
        connection.execute(sa.text("SET CONSTRAINTS ALL DEFERRED"))
        cursor = connection.connection.cursor()
        for number in range(files):
            key = uuid7(nanoseconds=int(OLD.timestamp()) * 10**9 + number * 10**6).bytes
            row = rows.row(key, result_id=None, run_id=run, filename="a.bin", size=size)
            pieces = [size - start if size - start < CHUNK_SIZE else CHUNK_SIZE for start in range(0, size, CHUNK_SIZE)]
            chunks = [rows.chunk(key, place, pool[(number + place) % 32][:some]) for place, some in enumerate(pieces)]
            for table, columns, made in (
                ("artifacts", ARTIFACT_COLUMNS, [row]),
                ("artifact_chunks", CHUNK_COLUMNS, chunks),
            ):
                file = io.BytesIO(b"".join([HEADER, *made, END]))
                cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)", file, 1 << 18)


def disk(servers: common.Servers) -> int:
    """Return the bytes of the databases' files."""
    total = 0
    for file in (servers.directory / "postgres" / "data" / "base").rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@contextlib.contextmanager
def engine_of(servers: common.Servers, name: str) -> Iterator[sa.Engine]:
    engine = create_engine(servers.database, application=name)
    yield engine
    engine.dispose()


def removal(directory: Path, size: int) -> float:
    """Return the seconds in which the file system removes so many bytes, in files as large as PostgreSQL's."""
    piece = os.urandom(1024 * 1024)
    paths = [directory / f"removed-{number}" for number in range(-(-size // SEGMENT))]
    for path in paths:
        with path.open("wb") as file:
            for _ in range(min(size, SEGMENT) // len(piece)):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    start = time.perf_counter()
    for path in paths:
        path.unlink()
    return time.perf_counter() - start


def measure(servers: common.Servers, engine: sa.Engine, what: str, files: int, size: int, *, raw: bool = False) -> None:
    """Store a month, let it go, and print how that went."""
    alone = removal(servers.directory, files * size)
    fill(engine, files, size)
    before = disk(servers)
    with engine_of(servers, PRUNER) as pruner, engine_of(servers, "benchmark-look") as other:
        with Look(other) as look, pruner.connect() as connection:
            start = time.perf_counter()
            if raw:
                with connection.begin():
                    connection.execute(sa.text("DELETE FROM artifacts WHERE upload_date < :cutoff"), {"cutoff": CUTOFF})
            else:
                (month,) = partitions.expired(connection, CUTOFF)
                dropped = partitions.drop(connection, month, kept=NOTHING, parameters={})
                assert isinstance(dropped, partitions.Dropped)
                assert (dropped.artifacts, dropped.bytes) == (files, files * size)
            seconds = time.perf_counter() - start
            time.sleep(0.1)
        freed = before - disk(servers)
    print(
        f"  {what:<35}{files * size / 1e9:6.2f} GB {files:7,} files  gone {look.gone - start:5.2f} s"
        f"  all {seconds:5.2f} s  rm {alone:5.2f} s  disk -{freed / 1e9:.2f} GB  lock {look.longest * 1000:3.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    small, large = (float(one) * 1e9 for one in (sys.argv[1:3] if len(sys.argv) > 2 else ("1", "8")))
    files = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    tests = int(sys.argv[4]) if len(sys.argv) > 4 else 5000
    size = int(small / files)
    with common.servers() as servers, engine_of(servers, "benchmark") as engine, common.worker(servers):
        with Imports(servers, tests) as alone:
            time.sleep(20)
        with Imports(servers, tests) as beside:
            for _ in range(2):
                measure(servers, engine, "small", files, size)
                measure(servers, engine, "large, as many files", files, int(large / files))
            measure(servers, engine, "large, files as large as the small", int(large / size), size)
        measure(servers, engine, "small, by one raw DELETE", files, size, raw=True)
        for name, imports in (("alone", alone), ("beside", beside)):
            print(f"  imports {name}: {len(imports.done)}, median {sorted(imports.done)[len(imports.done) // 2]:.2f} s")
