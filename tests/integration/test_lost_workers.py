"""Workers that are lost, databases that go away and messages that come twice, each at an import that stands still."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

from fault_processes import runs
from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings, DatabaseSettings
from ibutsu_server.embedded import files, processes, redis
from ibutsu_server.store import uploads
from ibutsu_server.store.models import Import, Result, Run, UploadChunk
from ibutsu_server.tasks.importers import MAX_ATTEMPTS

Store = Callable[..., uuid.UUID]
StartWorker = Callable[..., AbstractContextManager[Path]]
Until = Callable[..., None]

TASK = "ibutsu_server.tasks.importers.import_results"


def report(tests: int, *, failing: bool = False) -> bytes:
    """Make a report of so many tests; when it is `failing`, one more has a traceback, which becomes an artifact."""
    cases = "".join(f'<testcase classname="m" name="test_{n}" time="0.01"/>' for n in range(tests))
    failed = '<testcase classname="m" name="test_bad"><failure message="no">trace</failure></testcase>'
    return f"<testsuite name='s'>{cases}{failed if failing else ''}</testsuite>".encode()


class Scene:
    """What happens to imports, and how to make them stand still."""

    def __init__(self, session: Session, celery: Celery, superuser: Any) -> None:
        self._session = session
        self._celery = celery
        self._superuser = superuser

    def send(self, import_id: uuid.UUID, task_id: uuid.UUID | None = None) -> Any:
        """Send the import's task, as the API does or with another id."""
        return self._celery.send_task(TASK, (str(import_id),), task_id=str(task_id or import_id))

    def read(self, import_id: uuid.UUID) -> Import:
        """Read the import anew."""
        self._session.rollback()
        return self._session.get_one(Import, import_id, populate_existing=True)

    def stored(self) -> dict[uuid.UUID, int]:
        """Return the runs, and how many results each has."""
        self._session.rollback()
        query = sa.select(Run.id, sa.func.count(Result.id)).outerjoin(Result, Result.run_id == Run.id).group_by(Run.id)
        return {row[0]: row[1] for row in self._session.execute(query)}

    def upload(self, import_id: uuid.UUID) -> bytes:
        """Return the bytes of the upload that are still there."""
        query = sa.select(UploadChunk.data).where(UploadChunk.import_id == import_id).order_by(UploadChunk.position)
        return b"".join(self._session.scalars(query))

    @contextlib.contextmanager
    def standstill(self) -> Iterator[None]:
        """While the block runs, imports stop once they have stored their results, before their artifacts."""
        with self._superuser.cursor() as cursor:
            cursor.execute("LOCK TABLE artifacts IN EXCLUSIVE MODE")
            try:
                yield
            finally:
                self._superuser.rollback()

    def standing(self) -> list[int]:
        """Return PostgreSQL's processes for the imports that stand still."""
        self._session.rollback()
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return list(self._session.scalars(sa.text(query)))

    def end(self, pid: int) -> None:
        """End such a process, as an administrator may."""
        self._session.execute(sa.select(sa.func.pg_terminate_backend(pid)))


@pytest.fixture
def scene(session: Session, database: DatabaseSettings, broker_url: str) -> Iterator[Scene]:
    """The test's database and broker, seen by an administrator."""
    connection = psycopg2.connect(
        host=database.host, port=database.port, user=database.user, password=database.password, dbname=database.database
    )
    settings = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    yield Scene(session, create_broker_celery_app("tests", settings=settings), connection)
    connection.close()


class Killed:
    """A process that is killed to end it, and started by `launch`."""

    def __init__(self, launch: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._launch = launch
        self.start()

    def start(self) -> None:
        """Start it, again or for the first time."""
        self._process = self._launch()

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


def worker() -> psutil.Process:
    """Return the one worker that runs."""
    (found,) = [one for one in psutil.Process().children() if "ibutsu_server:worker_app" in one.cmdline()]
    return found


def test_a_report_that_kills_its_workers_ends_as_an_error_and_the_queue_goes_on(
    store_upload: Store, start_worker: StartWorker, scene: Scene, until: Until
) -> None:
    content = report(20_000, failing=True)
    deadly, behind = store_upload(content, "deadly.xml"), store_upload(report(3), "behind.xml")
    with start_worker(IBUTSU_IMPORT_ATTEMPTS="3") as log, scene.standstill():
        scene.send(deadly)
        outcome = scene.send(behind)
        for attempt in (1, 2, 3):
            until(lambda attempt=attempt: scene.read(deadly).attempts == attempt and scene.standing(), log)
            assert (scene.read(deadly).status, scene.read(deadly).lost) == ("running", attempt - 1)
            (child,) = worker().children()
            child.kill()
        until(lambda: scene.read(deadly).status == "error", log)
        assert outcome.get(timeout=60)["imported"]
    ended = scene.read(deadly)
    assert (ended.lost, ended.attempts, ended.run_id) == (3, 4, None)
    assert ended.error is not None
    assert ended.error.startswith("deadly.xml: 3 workers were lost while they imported it")
    assert scene.stored() == {uuid.uuid5(behind, "run"): 3}
    assert scene.upload(deadly) == content, "a retry by hand needs them"


def test_a_lock_that_outlives_its_worker_for_a_moment_is_waited_for(
    session: Session, other: Session, store_upload: Store
) -> None:
    import_id = store_upload(report(3))
    assert uploads.claim(other, import_id, retries=0)
    assert uploads.lock(other, import_id)
    late = threading.Timer(1, other.rollback)
    late.start()
    row = uploads.claim(session, import_id, retries=0)
    late.join()
    assert row is not None
    assert (row.attempts, row.lost) == (2, 1)


def test_an_import_whose_database_went_away_is_tried_again_and_says_so_meanwhile(
    store_upload: Store, start_worker: StartWorker, scene: Scene, until: Until
) -> None:
    import_id = store_upload(report(5, failing=True))
    with start_worker() as log:
        with scene.standstill():
            outcome = scene.send(import_id)
            until(scene.standing, log)
            assert (scene.read(import_id).status, scene.read(import_id).error) == ("running", None)
            (pid,) = scene.standing()
            scene.end(pid)
            until(lambda: scene.read(import_id).error, log)
            until(lambda: scene.read(import_id).attempts == 2, log)
            meanwhile = scene.read(import_id).error
        assert outcome.get(timeout=60)["imported"]
    assert meanwhile is not None
    assert meanwhile.startswith("The database was away or busy (")
    done = scene.read(import_id)
    assert (done.status, done.attempts, done.lost, done.retries, done.error) == ("done", 2, 0, 1, None)
    assert scene.stored() == {uuid.uuid5(import_id, "run"): 6}


def test_a_message_that_comes_again_while_its_import_runs_changes_nothing(
    store_upload: Store, start_worker: StartWorker, scene: Scene, until: Until
) -> None:
    import_id = store_upload(report(5, failing=True))
    with start_worker(CELERY_WORKER_CONCURRENCY="2") as log:
        with scene.standstill():
            outcome = scene.send(import_id)
            until(scene.standing, log)
            began = scene.read(import_id).started
            assert scene.send(import_id, uuid.uuid4()).get(timeout=60)["imported"] is False
            running = scene.read(import_id)
            assert (running.status, running.attempts, running.lost, running.started) == ("running", 1, 0, began)
        assert outcome.get(timeout=60)["imported"]
    assert (scene.read(import_id).status, scene.read(import_id).attempts) == ("done", 1)
    assert scene.stored() == {uuid.uuid5(import_id, "run"): 6}


def test_an_import_that_fails_without_end_is_given_up_and_lost_workers_do_not_count_for_that(
    session: Session, store_upload: Store, start_worker: StartWorker, scene: Scene
) -> None:
    begun = {store_upload(report(3), f"{lost}.xml"): lost for lost in (0, 1)}
    for import_id, lost in begun.items():
        values = {"attempts": MAX_ATTEMPTS, "lost": lost, "retries": 1, "error": "The database was away."}
        session.execute(sa.update(Import).where(Import.id == import_id).values(**values))
    session.commit()
    with start_worker():
        for import_id in begun:
            scene.send(import_id).get(timeout=60, propagate=False)
    endless, lucky = (scene.read(import_id) for import_id in begun)
    assert (endless.status, lucky.status) == ("error", "done")
    assert endless.error == (
        "0.xml: its import was begun 30 times and never ended. The last attempt failed so: The database was away."
    )


@pytest.fixture
def broker(server_directory: Path) -> Iterator[tuple[str, Killed]]:
    """A Redis of the test's own that it may kill, and its URL."""
    directory = files.private_directory(server_directory / f"redis-{uuid.uuid4().hex[:6]}")
    store = redis.prepare(directory)

    def start() -> subprocess.Popen[bytes]:
        process = processes.spawn(store.program, output=output)
        processes.wait_until(lambda: redis.refusal(store.url), process, "Redis", seconds=60, log=directory / "log")
        return process

    with (directory / "log").open("ab") as output, contextlib.closing(Killed(start)) as killed:
        yield store.url, killed


def test_a_worker_outlives_its_broker_and_repairs_what_was_lost_with_the_connection(
    broker: tuple[str, Killed], start_worker: StartWorker, until: Until
) -> None:
    def repairs() -> set[str]:
        return set(re.findall(r"sync_aborted_runs\[(\S+)\] received", log.read_text()))

    url, server = broker
    with start_worker(CELERY_BROKER_URL=url, CELERY_RESULT_BACKEND=url) as log:
        # The worker has the repair in its hands until its time comes, and cannot give it back to a broker that died.
        until(lambda: len(repairs()) == 1, log)
        before = worker()
        server.close()
        until(lambda: "Cannot connect to redis" in log.read_text(), log)
        server.start()
        until(lambda: len(repairs()) == 2, log)
        assert worker() == before


def test_a_child_that_is_lost_before_its_worker_has_a_broker_is_replaced(
    broker: tuple[str, Killed], environment: dict[str, str], tmp_path: Path, until: Until
) -> None:
    url, server = broker
    server.close()
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "--app", "ibutsu_server:worker_app", "worker"]
    variables = environment | {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    with log.open("wb") as output, subprocess.Popen(command, env=variables, stdout=output, stderr=output) as process:
        try:
            until(lambda: "Cannot connect to redis" in log.read_text() or process.poll() is not None, log)
            (child,) = worker().children()
            child.kill()
            until(lambda: not runs(child), log)
            server.start()
            with create_broker_celery_app(
                "tests", settings=CelerySettings(broker_url=url, result_backend=url)
            ) as celery:
                sent = celery.send_task("ibutsu_server.tasks.runs.update_run", (str(uuid.uuid4()),))
                until(lambda: sent.ready() or process.poll() is not None, log)
                assert process.poll() is None, log.read_text()
                assert sent.get()["found"] is False
            assert [one.pid for one in worker().children()] != [child.pid]
        finally:
            process.terminate()
