"""Workers that are told to end in the middle of an import: it is finished, or handed back at once."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from redis import Redis
from sqlalchemy.orm import Session

from fault_processes import runs
from ibutsu_core import queues
from ibutsu_core.celery_utils import QUEUE, create_broker_celery_app
from ibutsu_core.settings import CelerySettings
from ibutsu_server.store.models import Import
from ibutsu_server.tasks.handed_back import SENTENCE, TASK

Store = Callable[..., uuid.UUID]
StartWorker = Callable[..., AbstractContextManager[Path]]
Until = Callable[..., None]

REPORT = b"<testsuite><testcase name='a'><failure message='no'>trace</failure></testcase></testsuite>"


class Scene:
    """An import that stands still in a worker, with another behind it."""

    def __init__(self, session: Session, other: Session, broker_url: str, until: Until, ids: list[uuid.UUID]) -> None:
        self._session = session
        self._other = other
        self.redis = Redis.from_url(broker_url)
        self._until = until
        self.ids = ids
        settings = CelerySettings(broker_url=broker_url, result_backend=broker_url)
        celery = create_broker_celery_app("tests", settings=settings)
        other.execute(sa.text("LOCK TABLE artifacts IN EXCLUSIVE MODE"))
        for import_id in ids:
            celery.send_task(TASK, (str(import_id),), task_id=str(import_id))

    def imports(self) -> list[Import]:
        """Read both imports anew."""
        self._session.rollback()
        return [self._session.get_one(Import, one, populate_existing=True) for one in self.ids]

    def statuses(self) -> list[str]:
        """Return their statuses."""
        return [row.status for row in self.imports()]

    def begin(self, log: Path) -> psutil.Process:
        """Wait until the first import stands still; return its worker."""
        self._until(lambda: self.statuses() == ["running", "pending"], log)
        (worker,) = [one for one in psutil.Process().children() if "ibutsu_server:worker_app" in one.cmdline()]
        self._until(lambda: self.redis.hlen(queues.UNACKNOWLEDGED) >= 1, log)
        return worker

    def go_on(self) -> None:
        """Let imports go on."""
        self._other.rollback()


@pytest.fixture
def scene(session: Session, other: Session, store_upload: Store, broker_url: str, until: Until) -> Scene:
    """Two imports on the queue, the first of which stands still wherever it is begun."""
    ids = [store_upload(REPORT, f"{name}.xml") for name in ("first", "second")]
    return Scene(session, other, broker_url, until, ids)


def wait_for_end(worker: psutil.Process, until: Until, log: Path) -> None:
    """Wait until the worker is no more; who started it reaps it later."""
    until(lambda: worker.status() == psutil.STATUS_ZOMBIE, log)


@pytest.mark.slow
def test_what_can_be_finished_is_finished_and_nothing_else_is_begun(
    scene: Scene, start_worker: StartWorker, until: Until
) -> None:
    with start_worker() as log:
        worker = scene.begin(log)
        worker.send_signal(signal.SIGTERM)
        until(lambda: "Warm shutdown" in log.read_text(), log)
        scene.go_on()
        began = time.monotonic()
        wait_for_end(worker, until, log)
        print(f"finished and ended in {time.monotonic() - began:.1f} s")
    assert scene.statuses() == ["done", "pending"]
    assert (scene.redis.llen(QUEUE), scene.redis.hlen(queues.UNACKNOWLEDGED)) == (2, 0), "the second, and the repair"


@pytest.mark.slow
@pytest.mark.parametrize("asked", [False, True])
def test_what_cannot_be_finished_in_time_goes_to_another_worker_at_once_and_counts_no_lost_worker(
    *, asked: bool, scene: Scene, start_worker: StartWorker, until: Until
) -> None:
    """In time means before the grace period ends, or before who ends it asks again, by SIGQUIT."""
    with start_worker(IBUTSU_WORKER_SHUTDOWN_TIME="3600" if asked else "1") as log:
        worker = scene.begin(log)
        children = worker.children()
        worker.send_signal(signal.SIGTERM)
        until(lambda: "Warm shutdown" in log.read_text(), log)
        began = time.monotonic()
        if asked:
            worker.send_signal(signal.SIGQUIT)
        wait_for_end(worker, until, log)
        print(f"handed back and ended in {time.monotonic() - began:.1f} s")
    until(lambda: not any(runs(child) for child in children))
    assert (scene.redis.llen(QUEUE), scene.redis.hlen(queues.UNACKNOWLEDGED)) == (3, 0), "both, and the repair"
    first, _second = scene.imports()
    assert (first.status, first.attempts, first.lost, first.error) == ("pending", 1, 0, SENTENCE)
    scene.go_on()
    began = time.monotonic()
    with start_worker() as log:
        until(lambda: scene.statuses() == ["done", "done"], log)
        print(f"imported by another, started anew, in {time.monotonic() - began:.1f} s")
    first, _second = scene.imports()
    assert (first.attempts, first.lost, first.error) == (2, 0, None)
