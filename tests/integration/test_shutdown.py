"""Workers that are ended in the middle of an import: it is finished, or handed back at once."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from redis import Redis
from sqlalchemy.orm import Session
import sqlalchemy as sa
from ibutsu_core import queues
from ibutsu_core.celery_utils import QUEUE, create_broker_celery_app
from ibutsu_core.settings import CelerySettings
from ibutsu_server.store.models import Import

Store = Callable[..., uuid.UUID]
StartWorker = Callable[..., AbstractContextManager[Path]]
Until = Callable[..., None]

TASK = "ibutsu_server.tasks.importers.import_results"
REPORT = b"<testsuite><testcase name='a'><failure message='no'>trace</failure></testcase></testsuite>"


def worker() -> psutil.Process:
    (found,) = [one for one in psutil.Process().children() if "ibutsu_server:worker_app" in one.cmdline()]
    return found


def test_x(store_upload: Store, start_worker: StartWorker, session: Session, other: Session, until: Until, broker_url: str) -> None:
    celery = create_broker_celery_app("tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url))
    redis = Redis.from_url(broker_url)
    ids = [store_upload(REPORT) for _ in range(3)]
    def status(i):
        session.rollback()
        return session.scalar(sa.select(Import.status).where(Import.id == i))
    with start_worker() as log:
        other.execute(sa.text("LOCK TABLE artifacts IN EXCLUSIVE MODE"))
        for i in ids:
            celery.send_task(TASK, (str(i),), task_id=str(i))
        until(lambda: status(ids[0]) == "running", log)
        time.sleep(1)
        process = worker()
        print("queue", redis.llen(QUEUE), "unacked", redis.hlen(queues.UNACKNOWLEDGED))
        process.send_signal(signal.SIGTERM)
        time.sleep(3)
        print("after TERM queue", redis.llen(QUEUE), "unacked", redis.hlen(queues.UNACKNOWLEDGED))
        t = time.monotonic()
        process.send_signal(signal.SIGQUIT)
        while process.is_running() and process.status() != "zombie" and time.monotonic() - t < 15:
            time.sleep(0.1)
        print("ended after", time.monotonic() - t, process.is_running() and process.status())
        print("after QUIT queue", redis.llen(QUEUE), "unacked", redis.hlen(queues.UNACKNOWLEDGED))
        other.rollback()
        for i in ids: print(status(i), [ (r.attempts, r.lost) for r in [session.get(Import, i)]])
        print(log.read_text()[-6000:])
