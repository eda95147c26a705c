"""What a worker that starts learns of those that run."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings

StartWorker = Callable[..., AbstractContextManager[Path]]


def test_a_worker_that_starts_learns_of_its_neighbours_what_was_revoked(
    start_worker: StartWorker, broker_url: str
) -> None:
    celery = create_broker_celery_app("test", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url))
    task_id = str(uuid.uuid4())
    with start_worker("--hostname", "first@h") as first:
        assert "mingle: all alone" in first.read_text()
        celery.control.revoke(task_id)
        with start_worker("--hostname", "second@h") as second:
            assert "mingle: sync with 1 nodes" in second.read_text()
            # With the ids that it had from its neighbour.
            revoked = celery.control.inspect(["second@h"], timeout=10, limit=1).revoked()
    assert revoked == {"second@h": [task_id]}
    celery.close()
