"""Whatever is killed, and whenever: every import is there once and whole, or still to come, and in the end all are."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import secrets
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from redis import Redis
from sqlalchemy.orm import Session

from fault_processes import READY_SECONDS, Server, Worker, runs
from fault_reports import Content, Counts, contents, read, stored
from ibutsu_core.settings import CelerySettings
from ibutsu_server.api.broker import Broker
from ibutsu_server.embedded import files, postgres, processes, redis
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
BUSY_SECONDS = 30

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


@dataclasses.dataclass(frozen=True)
class Upload:
    """What was uploaded, the run that it is to become, and its number of rows; a broken one becomes none."""

    id: uuid.UUID
    content: Content
    run_id: uuid.UUID
    counts: Counts | None


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
            worker.kill()
            worker.start()
        elif children := [child for child in worker.children() if runs(child)]:
            with contextlib.suppress(psutil.NoSuchProcess):
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
