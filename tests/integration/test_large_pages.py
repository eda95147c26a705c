"""A page that is too large for a request, from the API to a real worker and back."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.settings import Application, CelerySettings, DatabaseSettings, Settings
from ibutsu_server import api
from ibutsu_server.applications import create_flask
from ibutsu_server.store import accounts
from ibutsu_server.store.database import is_transient
from ibutsu_server.store.models import Project, Run, User
from ibutsu_server.tasks.query import PageTooLargeError, PageTooSlowError, query_task


@pytest.fixture
def database(database_with_worker: DatabaseSettings) -> DatabaseSettings:
    """Where the worker that these tests share works."""
    return database_with_worker


@pytest.mark.parametrize("filters", ["filter=source=a", "filter=source~("])
def test_a_large_page_is_made_by_a_worker(
    session: Session,
    database: DatabaseSettings,
    broker_url: str,
    filters: str,
) -> None:
    project_id = session.scalar(sa.select(Project.id))
    session.add_all([Run(project_id=project_id, source="a", data={}) for _ in range(3)])
    user = session.scalars(sa.select(User)).one()
    headers = {"Authorization": f"Bearer {accounts.create_token(session, user, name='test')}"}
    session.commit()
    celery = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    app = create_flask(Settings(application=Application.BACKEND, celery=celery, database=database))
    api.register(app)
    client = app.test_client()
    task_id = client.get(f"/api/run?{filters}&pageSize=501", headers=headers).get_json()["task_id"]
    for _ in range(1200):
        answer = client.get(f"/api/task/{task_id}", headers=headers)
        if answer.status_code != 206:
            break
        time.sleep(0.1)
    app.extensions["ibutsu_engine"].dispose()
    if filters.endswith("("):
        # Only the database can tell that a regular expression is broken.
        assert (answer.status_code, answer.get_json()["state"]) == (203, "FAILURE")
        assert answer.get_json()["error"] == ["A filter's regular expression is not valid."]
    else:
        assert answer.status_code == 200
        assert len(answer.get_json()["runs"]) == 3


def test_a_large_page_that_takes_too_long_fails_and_is_not_tried_again(
    session: Session, database: DatabaseSettings, broker_url: str
) -> None:
    user_id = str(session.scalars(sa.select(User.id)).one())
    celery = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    app = create_flask(Settings(application=Application.WORKER, celery=celery, database=database, page_query_time=1))
    session.execute(sa.text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))
    with app.app_context(), pytest.raises(PageTooSlowError, match="1 seconds; IBUTSU_PAGE_MAX_QUERY_TIME") as caught:
        query_task.run("runs", user_id=user_id)
    app.extensions["ibutsu_engine"].dispose()
    assert not is_transient(caught.value)


def test_a_large_page_of_too_many_bytes_fails_and_is_not_tried_again(
    session: Session, database: DatabaseSettings, broker_url: str
) -> None:
    project_id, user_id = session.scalar(sa.select(Project.id)), str(session.scalars(sa.select(User.id)).one())
    session.add_all([Run(project_id=project_id, data={"text": "x" * 600}) for _ in range(2)])
    session.commit()
    celery = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    app = create_flask(Settings(application=Application.WORKER, celery=celery, database=database, page_bytes=1000))
    with app.app_context(), pytest.raises(PageTooLargeError, match="1000 bytes; IBUTSU_PAGE_MAX_BYTES") as caught:
        query_task.run("runs", page_size=1000, user_id=user_id)
    app.extensions["ibutsu_engine"].dispose()
    assert not is_transient(caught.value)
