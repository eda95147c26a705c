"""Redis stays small: payloads are ids, and results are small and expire."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from ibutsu_core import queues
from ibutsu_core.celery_utils import QUEUE, create_broker_celery_app
from ibutsu_core.settings import CelerySettings

TASK = "ibutsu_server.tasks.importers.import_results"

REPORT = b"<testsuite>" + b"<testcase name='a'><system-out>" + b"x" * 20_000 + b"</system-out></testcase></testsuite>"

EXPIRES = 2
"""Seconds that a result is kept."""

BATCH = 40


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_memory_of_redis_is_flat_while_reports_are_imported(
    start_worker: Callable[..., AbstractContextManager[Path]],
    store_upload: Callable[..., uuid.UUID],
    broker_url: str,
    until: Callable[..., None],
) -> None:
    celery = create_broker_celery_app(
        "tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url)
    )
    celery.conf.result_backend = "disabled://"
    client = Redis.from_url(broker_url)

    def batch() -> None:
        for _ in range(BATCH):
            import_id = store_upload(REPORT)
            celery.send_task(TASK, (str(import_id),), task_id=str(import_id))
        until(lambda: not client.llen(QUEUE) and not client.hlen(queues.UNACKNOWLEDGED), seconds=300)

    def settled() -> tuple[int, int]:
        until(lambda: not list(client.scan_iter("celery-task-meta-*")))
        memory: Any = client.info("memory")
        return int(memory["used_memory"]), int(client.dbsize())  # type: ignore[arg-type]

    with start_worker(CELERY_RESULT_EXPIRES=str(EXPIRES)) as log:
        batch()
        until(lambda: log.read_text().count("import_results[") >= 2 * BATCH)
        before, keys = settled()
        for _ in range(3):
            batch()
        after, _keys = settled()
    # A lock of Kombu's comes and goes.
    until(lambda: int(client.dbsize()) <= keys)  # type: ignore[arg-type]
    client.close()
    # A result has about a kilobyte, and there were 120.
    assert after - before < 80_000


@pytest.mark.slow
def test_a_message_and_a_result_are_small_whatever_the_upload(
    store_upload: Callable[..., uuid.UUID],
    start_worker: Callable[..., AbstractContextManager[Path]],
    broker_url: str,
) -> None:
    settings = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    celery = create_broker_celery_app("tests", settings=settings)
    client = Redis.from_url(broker_url)
    import_id = store_upload(REPORT)
    sent = celery.send_task(TASK, (str(import_id),), task_id=str(import_id))
    assert int(client.memory_usage(QUEUE)) < 2_500  # type: ignore[arg-type]
    with start_worker():
        assert sent.get(timeout=60)["imported"]
    key = f"celery-task-meta-{import_id}"
    assert client.strlen(key) < 1_500  # type: ignore[operator]
    assert 0 < int(client.ttl(key)) <= 86_400  # type: ignore[arg-type]
    client.close()
