"""A task's progress is its state in Redis, and costs a task little where Redis is away."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings
from ibutsu_server.tasks import progress


def task_of(url: str) -> tuple[Celery, Any]:
    """Make a task that runs, for its progress."""
    app = create_broker_celery_app("tests", settings=CelerySettings(broker_url=url, result_backend=url))

    @app.task(shared=False)
    def task() -> None:
        """Do nothing."""

    task.push_request(id=str(uuid.uuid4()))
    return app, task


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery itself
def test_progress_is_the_state_that_celery_reads_and_expires(broker_url: str) -> None:
    app, task = task_of(broker_url)
    with progress.Progress(task) as told:
        assert told.is_due()
        told.tell(bytes_read=5, results=3)
        assert not told.is_due()
    result = app.AsyncResult(task.request.id)
    assert (result.state, result.result) == ("PROGRESS", {"bytes_read": 5, "results": 3})
    with Redis.from_url(broker_url) as client:
        assert 0 < client.ttl(f"celery-task-meta-{task.request.id}") <= app.conf.result_expires  # type: ignore[operator]
    app.backend.store_result(task.request.id, {"done": True}, "SUCCESS")
    assert result.state == "SUCCESS"


def test_a_redis_that_is_away_is_asked_once_and_then_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _app, task = task_of("redis://127.0.0.1:1/0")
    with progress.Progress(task) as told:
        told.tell(results=3)
        assert not told.is_due()
        later = time.monotonic() + progress.PAUSE
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert told.is_due()
    assert "cannot be told" in caplog.text
