"""What the benchmarks share: servers of their own, reports to import, a real worker, and the clock."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings, DatabaseSettings
from ibutsu_server.embedded import postgres, redis
from ibutsu_server.store import local, migrate, projects, uploads
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Import, User

TASK = "ibutsu_server.tasks.importers.import_results"

OUTPUT = "a line of output, as tests print it\n" * 20


@dataclasses.dataclass(frozen=True, slots=True)
class Servers:
    """A migrated PostgreSQL with the project `local`, as durable as in production, and a Redis."""

    directory: Path
    database: DatabaseSettings
    broker: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the specification's processes."""
        database = self.database
        return {
            **os.environ,
            "CELERY_BROKER_URL": self.broker,
            "CELERY_RESULT_BACKEND": self.broker,
            "POSTGRESQL_HOST": database.host,
            "POSTGRESQL_PORT": str(database.port),
            "POSTGRESQL_USER": database.user,
            "POSTGRESQL_PASSWORD": database.password,
            "POSTGRESQL_DATABASE": database.database,
        }


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Run both servers in a directory that is removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="ibutsu-benchmark-"))
    directory.chmod(0o755)
    try:
        with postgres.server(directory / "postgres") as database, redis.server(directory / "redis") as broker:
            migrate.upgrade(database)
            local.ensure_local_access(database, email="admin@example.com", password="secret")
            yield Servers(directory, database, broker)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def session(servers: Servers) -> Iterator[Session]:
    """A session on the database."""
    engine = create_engine(servers.database, application="benchmark", pool_size=1)
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
    finally:
        engine.dispose()


def case(index: int, *, plain: bool) -> str:
    """One test case; of a hundred that are not all plain, four fail with a traceback and two print something."""
    head = f'<testcase classname="shop.module_{index // 50}.TestCart" name="test_total[{index}]" time="0.0{index % 90}"'
    kind = index % 100
    if plain or kind >= 6:
        return f"{head}/>\n"
    if kind >= 4:
        return f"{head}><system-out>{OUTPUT}</system-out></testcase>\n"
    lines = "".join(f"tests/shop/module.py:{n}: in test_total\n    cart.total({n})\n" for n in range(12))
    return f'{head}><failure message="assert {index} == 0">{lines}E  AssertionError</failure></testcase>\n'


def report(path: Path, tests: int, *, plain: bool = False) -> Path:
    """Write a JUnit report of so many tests, a hundred at a time."""
    with path.open("w") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<testsuites><testsuite name="pytest" ')
        file.write('timestamp="2026-03-01T10:00:00+00:00">\n')
        for start in range(0, tests, 100):
            file.write("".join(case(index, plain=plain) for index in range(start, min(start + 100, tests))))
        file.write("</testsuite></testsuites>\n")
    return path


def upload(session: Session, path: Path) -> uuid.UUID:
    """Store the file as the API does; returns the import's id."""
    project = projects.find(session, local.LOCAL_PROJECT)
    assert project is not None
    row = Import(
        id=uuid.uuid4(), filename=path.name, format="junit", size=0, sha256="", project_id=project.id,
        user_id=session.scalar(sa.select(User.id)), data={},
    )  # fmt: skip
    session.add(row)
    session.flush()
    with uploads.UploadWriter(session, row.id) as writer, path.open("rb") as file:
        while data := file.read(1024 * 1024):
            writer.write(data)
    row.size, row.sha256 = writer.size, writer.sha256
    session.commit()
    return row.id


@contextlib.contextmanager
def worker(
    servers: Servers, *, concurrency: int = 1, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker by the specification's command, warmed up and ready, with more `variables` in its environment."""
    log = servers.directory / f"worker-{uuid.uuid4().hex[:6]}.log"
    command = [sys.executable, "-m", "celery", "--app", "ibutsu_server:worker_app", "worker"]
    environment = servers.environment | {"CELERY_WORKER_CONCURRENCY": str(concurrency), **(variables or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        while " ready." not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def sender(servers: Servers) -> Celery:
    """What tasks are sent with."""
    return create_broker_celery_app(
        "benchmark", settings=CelerySettings(broker_url=servers.broker, result_backend=servers.broker)
    )


def imported(celery: Celery, import_ids: list[uuid.UUID]) -> float:
    """Send the imports at once, and wait until all are done; returns the seconds that it took."""
    start = time.perf_counter()
    sent = [celery.send_task(TASK, (str(one),), task_id=str(one)) for one in import_ids]
    for one in sent:
        assert one.get(timeout=1800, interval=0.01)["imported"]
    return time.perf_counter() - start


def empty(session: Session) -> None:
    """Remove all runs, and give the tables their first size."""
    session.rollback()
    session.execute(sa.text("TRUNCATE runs, results, artifacts, artifact_chunks, imports, upload_chunks"))
    session.commit()
