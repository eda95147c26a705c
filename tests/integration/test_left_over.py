"""Which imports the repair sends again: those that nobody works on and that no message will start."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from celery import Celery
from redis import Redis
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings
from ibutsu_server.store import uploads
from ibutsu_server.store.models import Import
from ibutsu_server.tasks import waiting as queue
from ibutsu_server.tasks.waiting import waiting

TASK = "ibutsu_server.tasks.importers.import_results"

LONG_AGO = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)

Add = Callable[..., uuid.UUID]


@pytest.fixture
def celery(broker_url: str) -> Celery:
    """What tasks are sent with; no worker takes them."""
    return create_broker_celery_app("tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url))


@pytest.fixture
def add(session: Session, store_upload: Callable[..., uuid.UUID]) -> Add:
    """Add an import that was sent, and begun where it runs, long ago, or as the values say."""

    def add(status: str, **values: object) -> uuid.UUID:
        import_id = store_upload(b"<testsuite/>")
        values = {"status": status, "sent": LONG_AGO, "started": LONG_AGO if status == "running" else None, **values}
        session.execute(sa.update(Import).where(Import.id == import_id).values(**values))
        session.commit()
        return import_id

    return add


@pytest.fixture
def left(session: Session, celery: Celery) -> Callable[[], dict[uuid.UUID, int]]:
    """Ask what is left over, and for the retries that each goes on from."""

    def left() -> dict[uuid.UUID, int]:
        return dict(uploads.left_over(session, lambda: waiting(celery)))

    return left


Left = Callable[[], dict[uuid.UUID, int]]


def test_what_waits_on_the_queue_is_left_alone(add: Add, left: Left, celery: Celery) -> None:
    import_id = add("pending")
    celery.send_task(TASK, (str(import_id),), task_id=str(import_id))
    assert left() == {}


def test_what_has_lost_its_message_is_sent_again(add: Add, left: Left, celery: Celery) -> None:
    lost, never_sent = add("pending"), add("pending", sent=None, created=LONG_AGO)
    celery.send_task(TASK, (str(uuid.uuid4()),), task_id=str(uuid.uuid4()))
    assert left() == {lost: 0, never_sent: 0}


def test_what_waits_for_its_retry_goes_on_from_there(add: Add, left: Left) -> None:
    import_id = add("pending", started=LONG_AGO, attempts=4, retries=3, error="The database was away.")
    assert left() == {import_id: 3}


def test_what_a_worker_is_at_is_left_alone(add: Add, left: Left, other: Session) -> None:
    import_id = add("running")
    assert uploads.lock(other, import_id)
    assert left() == {}


def test_what_has_lost_its_worker_is_sent_again(add: Add, left: Left, other: Session, celery: Celery) -> None:
    import_id = add("running")
    assert uploads.lock(other, import_id)
    other.rollback()
    # Its worker had it from that message, so the message is no reason to wait.
    celery.send_task(TASK, (str(import_id),), task_id=str(import_id))
    assert left() == {import_id: 0}


def test_what_has_just_been_sent_or_begun_and_what_has_ended_is_left_alone(add: Add, left: Left) -> None:
    now = dt.datetime.now(dt.UTC)
    add("pending", sent=now)
    add("pending", sent=None)
    add("running", started=now)
    add("done")
    add("error")
    assert left() == {}


def test_two_repairs_at_once_take_an_import_once(add: Add, left: Left, other: Session) -> None:
    import_id = add("running")
    assert left() == {import_id: 0}
    assert uploads.left_over(other, set) == []


def test_all_that_waits_is_found_whatever_its_priority(
    celery: Celery, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waiting(celery) == set()
    monkeypatch.setattr(queue, "PAGE", 3)
    ids = [uuid.uuid4() for _ in range(10)]
    for number, task_id in enumerate(ids):
        celery.send_task(TASK, (str(task_id),), task_id=str(task_id), priority=(0, 3, 9)[number % 3])
    with Redis.from_url(broker_url) as client:
        client.lpush("ibutsu", "no message at all", '{"headers": {"id": "no-uuid"}}', "[]")
    assert waiting(celery) == set(ids)


def test_an_attempt_that_failed_does_not_disturb_the_one_that_runs(add: Add, session: Session, other: Session) -> None:
    import_id = add("running")
    assert uploads.lock(other, import_id)
    uploads.failed_once(session, import_id, "The database was away.")
    row = session.get_one(Import, import_id, populate_existing=True)
    assert (row.status, row.error) == ("running", None)
    other.rollback()
    uploads.failed_once(session, import_id, "The database was away.")
    session.refresh(row)
    assert (row.status, row.error) == ("pending", "The database was away.")
