"""Whatever is killed, and whenever: every import is there once and whole, or still to come, and in the end all are."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import random
import secrets
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import psutil
import pytest
import sqlalchemy as sa
from redis import Redis
from sqlalchemy.orm import Session

from ibutsu_core.records import ArtifactRecord, ResultRecord, RunRecord
from ibutsu_core.settings import CelerySettings
from ibutsu_server.api.broker import Broker
from ibutsu_server.embedded import files, postgres, processes, redis
from ibutsu_server.reports import read_report
from ibutsu_server.store import local, migrate, projects, uploads
from ibutsu_server.store.chunks import SIZE as CHUNK_SIZE
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Import, Run, User

# What dies how often. A worker takes seconds to start, and keeps the others' kills waiting.
KILLS = {"child": 44, "postgres": 20, "redis": 20, "worker": 20}
LONGEST_WAIT = 0.8
UPLOADS = 40
QUEUED = 2

END_SECONDS = 240
READY_SECONDS = 90
BUSY_SECONDS = 15

OUTPUT = "a line of output, as tests print it\n" * 20
TRACEBACK = "".join(f"tests/shop/module.py:{n}: in test_total\n    cart.total({n})\n" for n in range(12))

COUNTS = """
    SELECT id, sum(runs), sum(results), sum(artifacts), sum(chunks) FROM (
        SELECT id, 1 AS runs, 0 AS results, 0 AS artifacts, 0 AS chunks FROM runs WHERE id = ANY(:runs)
        UNION ALL SELECT run_id, 0, count(*), 0, 0 FROM results WHERE run_id = ANY(:runs) GROUP BY run_id
        UNION ALL SELECT owned.run_id, 0, 0, count(DISTINCT owned.id), count(c.artifact_id) FROM (
            SELECT run_id, id FROM artifacts WHERE run_id = ANY(:runs)
            UNION ALL SELECT r.run_id, a.id FROM results r JOIN artifacts a ON a.result_id = r.id
            WHERE r.run_id = ANY(:runs)
        ) AS owned LEFT JOIN artifact_chunks c ON c.artifact_id = owned.id GROUP BY 1
    ) AS counted GROUP BY id
"""

UPLOAD_CHUNKS = "SELECT import_id, count(*) AS chunks FROM upload_chunks GROUP BY import_id"

RESULTS = "SELECT id, test_id, result, duration FROM results WHERE run_id = :run_id"

ARTIFACTS = """
    SELECT coalesce(a.result_id, a.run_id), a.filename, a.size,
        encode(sha256(string_agg(c.data, '' ORDER BY c.position)), 'hex')
    FROM artifacts a JOIN artifact_chunks c ON c.artifact_id = a.id
    WHERE a.id IN (
        SELECT id FROM artifacts WHERE run_id = :run_id
        UNION ALL SELECT b.id FROM artifacts b JOIN results r ON r.id = b.result_id WHERE r.run_id = :run_id
    ) GROUP BY a.id
"""


class Content(NamedTuple):
    """An upload. `run_id` is that of an archive; a report that names none gets its import's."""

    filename: str
    data: bytes
    run_id: uuid.UUID | None = None
    broken: bool = False


class Counts(NamedTuple):
    """How many rows a run has: its own, and those that belong to it."""

    runs: int
    results: int
    artifacts: int
    chunks: int


@dataclasses.dataclass
class Rows:
    """All that a run's rows say of the report, of artifacts as many as there are of the same."""

    results: dict[uuid.UUID, tuple[str, str, float]] = dataclasses.field(default_factory=dict)
    artifacts: collections.Counter[tuple[uuid.UUID, str, int, str]] = dataclasses.field(
        default_factory=collections.Counter
    )

    @property
    def counts(self) -> Counts:
        """How many rows that is."""
        chunks = sum(-(-size // CHUNK_SIZE) * times for (_, _, size, _), times in self.artifacts.items())
        return Counts(1, len(self.results), self.artifacts.total(), chunks)


@dataclasses.dataclass(frozen=True)
class Upload:
    """What was uploaded, the run that it is to become, and its number of rows; a broken one becomes none."""

    id: uuid.UUID
    content: Content
    run_id: uuid.UUID
    counts: Counts | None


def junit(tests: int, *, name: str = "suite") -> bytes:
    """Make a report of so many tests; of each twenty one fails with a traceback and one prints something."""
    bodies = {
        3: f'<failure message="assert 0">{TRACEBACK}</failure>',
        5: f"<system-out>{OUTPUT}</system-out>",
        7: '<skipped message="not today"/>',
    }
    cases = "".join(
        f'<testcase classname="shop.module_{n // 50}.TestCart" name="test_{n}" time="0.{n % 90:02}">'
        f"{bodies.get(n % 20, '')}</testcase>\n"
        for n in range(tests)
    )
    head = f'<testsuites><testsuite name="{name}" timestamp="2026-03-01T10:00:00+00:00">'
    return f"{head}\n{cases}</testsuite></testsuites>\n".encode()


def bundle(files: int, tests: int) -> bytes:
    """Make a zip of several reports."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(files):
            file.writestr(f"reports/{number}.xml", junit(tests, name=f"suite {number}"))
    return buffer.getvalue()


def archive(draw: random.Random, results: int, files: int) -> Content:
    """Make an archive as pytest-ibutsu does, with a file for some of its results, and one for the run."""
    run_id, *result_ids = (uuid.UUID(int=draw.getrandbits(128), version=4) for _ in range(results + 1))
    members = {
        f"{run_id}/run.json": json.dumps({"id": str(run_id), "metadata": {"project": local.LOCAL_PROJECT}}).encode(),
        f"{run_id}/run.log": b"the run's own log\n" * 100,
    }
    for number, result_id in enumerate(result_ids):
        result = {"id": str(result_id), "test_id": f"test_{number}", "result": "passed", "duration": number / 100}
        members[f"{run_id}/{result_id}/result.json"] = json.dumps(result).encode()
        if number < files:
            members[f"{run_id}/{result_id}/shot.png"] = draw.randbytes(draw.randrange(1, 2 * CHUNK_SIZE))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return Content(f"{run_id}.tar.gz", buffer.getvalue(), run_id=run_id)


def contents(draw: random.Random) -> Iterator[Content]:
    """Yield uploads without end: all kinds again and again, in another order each time."""
    reports = {tests: junit(tests) for tests in (50, 400, 1000, 2500, 4000)}
    packed, several = gzip.compress(reports[1000]), bundle(5, 250)
    while True:
        twice = archive(draw, 100, 3)
        batch = [
            *(Content(f"junit-{tests}.xml", data) for tests, data in reports.items()),
            *(Content(f"junit-{tests}.xml", reports[tests]) for tests in (2500, 4000, 4000)),
            Content("packed.xml.gz", packed),
            Content("several.zip", several),
            archive(draw, 300, 8),
            twice,
            twice,
            draw.choice(
                (
                    Content("cut.xml", reports[2500][:-100], broken=True),
                    Content("cut.xml.gz", packed[:-100], broken=True),
                    Content("cut.zip", several[:-100], broken=True),
                    Content("none.xml", b"hello, this is a log file\n", broken=True),
                )
            ),
        ]
        draw.shuffle(batch)
        yield from batch


def read(content: Content, run_id: uuid.UUID) -> tuple[uuid.UUID, Rows]:
    """Return the run's id and its rows as the readers have them, in memory."""
    rows = Rows()
    for record in read_report(io.BytesIO(content.data), filename=content.filename, run_id=run_id):
        if isinstance(record, RunRecord):
            run_id = record.id
        elif isinstance(record, ResultRecord):
            rows.results[record.id] = (record.test_id, record.result, record.duration)
        elif isinstance(record, ArtifactRecord):
            owner = record.result_id or record.run_id
            assert owner is not None
            data = b"".join(record.chunks)
            rows.artifacts[owner, record.filename, len(data), hashlib.sha256(data).hexdigest()] += 1
    return run_id, rows


class Server:
    """A server that is killed and started again, with the same data on the same port."""

    def __init__(self, program: processes.Program, refusal: Callable[[], str | None], log: Path) -> None:
        self._program = program
        self._refusal = refusal
        self._log = log
        self._output: IO[bytes] = log.open("ab")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = processes.spawn(self._program, output=self._output)
        processes.wait_until(self._refusal, self._process, self._program.name, seconds=READY_SECONDS, log=self._log)

    def kill(self) -> None:
        """Kill it with all its processes, at once."""
        kill_tree(self._process)

    def stop(self) -> None:
        """End it as it likes to be ended."""
        processes.stop(self._process, self._program)
        self._output.close()


class Worker:
    """A worker of the specification's command, started again when it has ended, as Kubernetes would."""

    def __init__(self, name: str, concurrency: int, environment: dict[str, str], log: Path) -> None:
        command = [sys.executable, "-m", "celery", "--app", "ibutsu_server:worker_app", "worker"]
        self._program = processes.Program(
            name=name,
            argv=(*command, "--hostname", f"{name}@%h"),
            environment={**environment, "CELERY_WORKER_CONCURRENCY": str(concurrency)},
            directory=log.parent,
        )
        self._log = log
        self._output: IO[bytes] = log.open("ab")
        self.start()

    def start(self) -> None:
        """Start it; it is ready some seconds later."""
        self._begin = self._log.stat().st_size
        self.process = processes.spawn(self._program, output=self._output)

    def ready(self) -> bool:
        """Whether it takes tasks."""
        with self._log.open("rb") as file:
            file.seek(self._begin)
            return b" ready." in file.read()

    def ended(self) -> bool:
        """Whether it is no more."""
        return self.process.poll() is not None

    def children(self) -> list[psutil.Process]:
        """Return its children; each runs one task at a time."""
        return psutil.Process(self.process.pid).children()

    def stop(self) -> None:
        """Kill it, and close its log."""
        kill_tree(self.process)
        self._output.close()


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it started, and wait until they are gone; a zombie of another's is."""
    killed = processes.descendants(process)
    process.kill()
    for child in killed:
        with contextlib.suppress(psutil.Error):
            child.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(runs(child) for child in killed):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs(process: psutil.Process) -> bool:
    """Whether the process is more than a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class World:
    """The servers and the workers, their supervisor, and whoever uploads reports."""

    def __init__(self, directory: Path, logs: Path, draw: random.Random) -> None:
        self._draw = draw
        self._contents = contents(draw)
        self._counts: dict[Content, Counts] = {}
        self.uploads: list[Upload] = []
        self._whole: set[uuid.UUID] = set()
        self.ended_unasked = 0
        with contextlib.ExitStack() as stack:
            cluster = postgres.prepare(files.private_directory(directory / "postgres"))
            store = redis.prepare(files.private_directory(directory / "redis"))
            # What a killed process has written is with the kernel; only a machine that stops would need more.
            postgres_program = dataclasses.replace(cluster.program, argv=(*cluster.program.argv, "-c", "fsync=off"))
            self._servers = {}
            for name, program, refusal in (
                ("postgres", postgres_program, lambda: postgres.refusal(cluster.settings)),
                ("redis", store.program, lambda: redis.refusal(store.url)),
            ):
                self._servers[name] = Server(program, refusal, logs / f"{name}.log")
                stack.callback(self._servers[name].stop)
            migrate.upgrade(cluster.settings)
            local.ensure_local_access(cluster.settings, email="admin@example.com", password="secret")
            self._engine = create_engine(cluster.settings, application="tests", pool_size=1)
            stack.callback(self._engine.dispose)
            self._queue = Redis.from_url(store.url)
            stack.callback(self._queue.close)
            self._broker = Broker(CelerySettings(broker_url=store.url, result_backend=store.url))
            environment = {
                **processes.ordinary_environment(),
                "CELERY_BROKER_URL": store.url,
                "CELERY_RESULT_BACKEND": store.url,
                "POSTGRESQL_HOST": cluster.settings.host,
                "POSTGRESQL_PORT": str(cluster.settings.port),
                "POSTGRESQL_USER": cluster.settings.user,
                "POSTGRESQL_PASSWORD": cluster.settings.password,
                "POSTGRESQL_DATABASE": cluster.settings.database,
                # The same import is killed more often here than bad luck would.
                "IBUTSU_IMPORT_ATTEMPTS": "1000",
            }
            self._workers = []
            for name, concurrency in (("one", 1), ("two", 2)):
                self._workers.append(Worker(name, concurrency, environment, logs / f"worker-{name}.log"))
                stack.callback(self._workers[-1].stop)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def supervise(self) -> None:
        """Start the workers again that have ended by themselves, and count them."""
        for worker in self._workers:
            if worker.ended():
                self.ended_unasked += 1
                worker.start()

    def kill(self, kind: str) -> None:
        """Kill something of that kind, and start it again where it does not do that itself."""
        if kind in self._servers:
            self._servers[kind].kill()
            self._servers[kind].start()
            return
        worker = self._draw.choice([worker for worker in self._workers if worker.ready() and not worker.ended()])
        if kind == "worker":
            kill_tree(worker.process)
            worker.start()
        elif children := worker.children():
            self._draw.choice(children).kill()

    def feed(self, wanted: int) -> None:
        """Upload as many reports as the queue lacks to have that many."""
        for _ in range(wanted - self._queue.llen("ibutsu")):
            self._upload(next(self._contents))

    def wait_for_work(self) -> bool:
        """Wait until an import runs, which in all likelihood is soon; tell whether one does."""
        deadline = time.monotonic() + READY_SECONDS
        while not any(worker.ready() for worker in self._workers):
            assert time.monotonic() < deadline, "no worker is ready"
            time.sleep(0.05)
            self.supervise()
        deadline = time.monotonic() + BUSY_SECONDS
        while not (busy := self.busy()) and time.monotonic() < deadline:
            time.sleep(0.05)
            self.supervise()
            self.feed(1)
        return busy

    def busy(self) -> bool:
        """Whether an import runs: its worker holds a lock."""
        with Session(self._engine) as session:
            return bool(session.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")))

    def unfinished(self) -> list[str]:
        """Describe the imports that have not ended."""
        query = sa.select(Import.id, Import.filename, Import.status, Import.attempts, Import.error)
        with Session(self._engine) as session:
            return [str(row) for row in session.execute(query.where(Import.status.in_(uploads.UNFINISHED)))]

    def attempts(self) -> int:
        """Return how often workers began with an import at most."""
        with Session(self._engine) as session:
            return session.scalar(sa.select(sa.func.max(Import.attempts))) or 0

    def _upload(self, content: Content) -> None:
        import_id = uuid.UUID(int=self._draw.getrandbits(128), version=4)
        with Session(self._engine, expire_on_commit=False) as session:
            project = projects.find(session, local.LOCAL_PROJECT)
            assert project is not None
            row = Import(
                id=import_id, filename=content.filename, format="", size=0, sha256="", project_id=project.id,
                user_id=session.scalar(sa.select(User.id)), data={},
            )  # fmt: skip
            session.add(row)
            session.flush()
            with uploads.UploadWriter(session, row.id) as writer:
                writer.write(content.data)
            row.size, row.sha256 = writer.size, writer.sha256
            session.commit()
            if self._broker.send("ibutsu_server.tasks.importers.import_results", [str(row.id)], row.id):
                uploads.mark_sent(session, row.id)
                session.commit()
        if not content.broken and content not in self._counts:
            self._counts[content] = read(content, import_id)[1].counts
        run_id = content.run_id or uuid.uuid5(import_id, "run")
        self.uploads.append(Upload(import_id, content, run_id, self._counts.get(content)))

    def check_counts(self, *, again: bool = False) -> None:
        """See in one snapshot that what is done is there as a whole and once, and of all else nothing.

        The rows of imports that were whole before, which are most, are counted `again` only where that is asked for.
        """
        counted = {upload.run_id for upload in self.uploads if again or upload.id not in self._whole}
        with Session(self._engine.execution_options(isolation_level="REPEATABLE READ")) as session:
            imports = {row.id: row for row in session.scalars(sa.select(Import))}
            chunks = {row.import_id: row.chunks for row in session.execute(sa.text(UPLOAD_CHUNKS))}
            runs = set(session.scalars(sa.select(Run.id)))
            found = {row.id: Counts(*row[1:]) for row in session.execute(sa.text(COUNTS), {"runs": list(counted)})}
        assert set(imports) == {upload.id for upload in self.uploads}
        assert runs == {row.run_id for row in imports.values()} - {None}
        expected = {}
        for upload in self.uploads:
            row = imports[upload.id]
            if row.status == "done":
                assert upload.counts is not None, row.filename
                assert row.run_id == upload.run_id
                assert upload.id not in chunks, "the bytes of what is done"
                expected[upload.run_id] = upload.counts
                self._whole.add(upload.id)
                continue
            assert row.run_id is None
            assert (row.status != "error") or upload.content.broken, (row.filename, row.error)
            assert chunks[upload.id] == -(-len(upload.content.data) // CHUNK_SIZE)
        assert found == {run_id: counts for run_id, counts in expected.items() if run_id in counted}

    def check_rows(self) -> None:
        """See that all has ended as it should, and compare what is stored with the reports, row for row."""
        self.check_counts(again=True)
        with Session(self._engine) as session:
            for upload in self.uploads:
                row = session.get_one(Import, upload.id)
                if upload.content.broken:
                    assert (row.status, row.run_id) == ("error", None)
                    assert row.error is not None
                    assert upload.content.filename in row.error
                    continue
                assert (row.status, row.error) == ("done", None)
                run_id, expected = read(upload.content, uuid.uuid5(upload.id, "run"))
                assert run_id == upload.run_id
                assert stored(session, run_id) == expected, upload


def stored(session: Session, run_id: uuid.UUID) -> Rows:
    """Return a run's rows as the database has them."""
    rows = Rows()
    for result_id, *said in session.execute(sa.text(RESULTS), {"run_id": run_id}):
        rows.results[result_id] = tuple(said)
    rows.artifacts.update(tuple(row) for row in session.execute(sa.text(ARTIFACTS), {"run_id": run_id}))
    return rows


@pytest.fixture
def seed() -> int:
    """The seed of this run's chances; IBUTSU_TESTS_SEED has an earlier run's."""
    seed = int(os.environ.get("IBUTSU_TESTS_SEED") or secrets.randbelow(2**32))
    print(f"IBUTSU_TESTS_SEED={seed}")
    return seed


@pytest.fixture
def world(seed: int, server_directory: Path, tmp_path: Path) -> Iterator[World]:
    """A world of the test's own, since everything in it is killed."""
    directory = Path(tempfile.mkdtemp(prefix="faults-", dir=server_directory))
    directory.chmod(0o755)
    world = World(directory, tmp_path, random.Random(seed))
    yield world
    world.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_import_is_there_once_and_whole_whatever_is_killed(world: World, seed: int) -> None:
    draw = random.Random(seed + 1)
    kinds = [kind for kind, times in KILLS.items() for _ in range(times)]
    draw.shuffle(kinds)
    assert len(kinds) >= 100
    began = time.monotonic()
    busy = 0
    for number, kind in enumerate(kinds):
        world.feed(QUEUED)
        world.wait_for_work()
        time.sleep(draw.uniform(0, LONGEST_WAIT))
        if not (was := world.busy()):
            world.feed(QUEUED)
            was = world.wait_for_work()
        busy += was
        world.kill(kind)
        # What was committed can only be lost with the database.
        world.check_counts(again=kind == "postgres")
        print(f"{time.monotonic() - began:6.1f} s: kill {number + 1}: {kind}, {'busy' if was else 'idle'}", flush=True)
    while len(world.uploads) < UPLOADS:
        world.feed(QUEUED)
    print(f"{busy} of {len(kinds)} kills met an import; {len(world.uploads)} uploads", flush=True)
    deadline = time.monotonic() + END_SECONDS
    while left := world.unfinished():
        assert time.monotonic() < deadline, left
        world.supervise()
        time.sleep(0.5)
    print(f"{time.monotonic() - began:6.1f} s: all have ended", flush=True)
    world.check_rows()
    print(f"{time.monotonic() - began:6.1f} s: compared row for row; at most {world.attempts()} attempts", flush=True)
    assert world.ended_unasked == 0, "workers are to outlive the servers"
    assert busy > len(kinds) / 2, "most kills are to meet an import"
