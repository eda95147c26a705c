"""The limits of an import are settings, and an import that goes beyond one says so."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings
from ibutsu_server.store.models import Import, Result, UploadChunk

TASK = "ibutsu_server.tasks.importers.import_results"


@pytest.fixture
def celery(broker_url: str) -> Celery:
    """What the API sends tasks with."""
    return create_broker_celery_app("tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url))


@pytest.mark.parametrize(
    ("variables", "count", "words"),
    [
        ({"IBUTSU_IMPORT_MAX_RESULTS": "3"}, 4, ("more than 3 test cases", "IBUTSU_IMPORT_MAX_RESULTS")),
        (
            {"IBUTSU_IMPORT_MAX_INHERITED_SIZE": "100"},
            4,
            ("form gives its results more than 100 characters", "IBUTSU_IMPORT_MAX_INHERITED_SIZE"),
        ),
        ({"CELERY_TASK_TIME_LIMIT": "4"}, 400_000, ("longer than CELERY_TASK_TIME_LIMIT",)),
    ],
)
def test_what_goes_beyond_a_limit_is_refused_and_names_its_setting(
    session: Session,
    store_upload: Callable[..., uuid.UUID],
    start_worker: Callable[..., AbstractContextManager[Path]],
    celery: Celery,
    *,
    variables: dict[str, str],
    count: int,
    words: tuple[str, ...],
) -> None:
    case = b'<testcase classname="shop.cart" name="test_total"/>'
    import_id = store_upload(b"<testsuite>" + case * count + b"</testsuite>", form={"component": "shop" * 5})
    with start_worker(**variables):
        outcome = celery.send_task(TASK, (str(import_id),), task_id=str(import_id))
        outcome.get(timeout=60, propagate=False)
    row = session.get_one(Import, import_id, populate_existing=True)
    assert (row.status, row.attempts, row.lost) == ("error", 1, 0)
    for word in words:
        assert word in (row.error or "")
    assert session.scalar(sa.select(sa.func.count()).select_from(Result)) == 0
    assert session.scalar(sa.select(sa.func.count()).select_from(UploadChunk)), "The upload is kept for a retry."
