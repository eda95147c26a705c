"""A worker's world inside the test's process, and real workers beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings, DatabaseSettings
from ibutsu_server.store import local, projects, uploads
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Import, User


@pytest.fixture
def session(database: DatabaseSettings) -> Iterator[Session]:
    """A session on the test's database, with the local project and user in it."""
    local.ensure_local_access(database, email="admin@example.com", password="secret")
    engine = create_engine(database, application="tests")
    with Session(engine, expire_on_commit=False) as session:
        yield session
    engine.dispose()


@pytest.fixture
def other(database: DatabaseSettings) -> Iterator[Session]:
    """The session of somebody else."""
    engine = create_engine(database, application="other")
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def store_upload(session: Session) -> Callable[..., uuid.UUID]:
    """Store bytes as an upload to the local project; returns the import's id."""

    def store(
        content: bytes,
        filename: str = "report.xml",
        *,
        project: str | None = "local",
        source: str | None = None,
        form: dict[str, object] | None = None,
    ) -> uuid.UUID:
        row = Import(
            id=uuid.uuid4(), filename=filename, format="", size=0, sha256="", source=source,
            user_id=session.scalar(sa.select(User.id)), data={"form": form or {}},
        )  # fmt: skip
        if project is not None:
            found = projects.find(session, project)
            assert found is not None
            row.project_id = found.id
        session.add(row)
        session.flush()
        with uploads.UploadWriter(session, row.id) as writer:
            writer.write(content)
        row.size, row.sha256 = writer.size, writer.sha256
        session.commit()
        return row.id

    return store


@contextlib.contextmanager
def worker(environment: dict[str, str], directory: Path, *arguments: str) -> Iterator[Path]:
    """Run a real worker of the specification's command while the block runs; gives its log."""
    log = directory / f"worker-{uuid.uuid4().hex[:6]}.log"
    command = [sys.executable, "-m", "celery", "--app", "ibutsu_server:worker_app", "worker", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_for(lambda: " ready." in log.read_text() or process.poll() is not None, log)
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def start_worker(environment: dict[str, str], tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[Path]]:
    """Start a worker of the test's own, with other variables perhaps, and stop it at the end of the block."""

    def start(*arguments: str, **variables: str) -> contextlib.AbstractContextManager[Path]:
        return worker({**environment, **variables}, tmp_path, *arguments)

    return start


@dataclasses.dataclass(frozen=True)
class SharedWorker:
    """A worker that runs for all tests of a module, its database and its log."""

    database: DatabaseSettings
    log: Path


@pytest.fixture(scope="module")
def shared_worker(
    databases: Any,
    redis_server: str,
    environment_of: Callable[[DatabaseSettings, str], dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SharedWorker]:
    """An ordinary worker, since it takes seconds to start one."""
    database = databases.take()
    with worker(environment_of(database, redis_server), tmp_path_factory.mktemp("worker")) as log:
        _forget_repair(redis_server, log)
        yield SharedWorker(database, log)
    databases.put_back(database)


def _forget_repair(broker_url: str, log: Path) -> None:
    """Have the worker forget the repair that it has sent at its start, which would come in the middle of a test."""
    received = re.compile(r"sync_aborted_runs\[(\S+)\] received")
    wait_for(lambda: received.search(log.read_text()), log)
    with create_broker_celery_app(
        "tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url)
    ) as celery:
        for task_id in received.findall(log.read_text()):
            assert celery.control.revoke(task_id, reply=True, timeout=60, limit=1), log.read_text()


@pytest.fixture
def database_with_worker(databases: Any, shared_worker: SharedWorker) -> DatabaseSettings:
    """The database of the shared worker, empty; a module that uses it calls it `database`."""
    databases.empty(shared_worker.database)
    return shared_worker.database


@pytest.fixture
def logged(shared_worker: SharedWorker) -> Callable[[], str]:
    """What the shared worker has logged since the test began."""
    begin = shared_worker.log.stat().st_size

    def read() -> str:
        return shared_worker.log.read_bytes()[begin:].decode()

    return read


def wait_for(condition: Callable[[], object], log: Path | None = None, *, seconds: float = 120) -> None:
    """Wait until the condition holds; shows the log when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(log.read_text() if log else "the condition never held")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Wait for a condition; see `wait_for`."""
    return wait_for
