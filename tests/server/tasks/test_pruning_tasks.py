"""A task of retention ends with its budget, and leaves the rest to a message of its own."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from freezegun import freeze_time
from redis import Redis

from ibutsu_core.celery_utils import create_flask_celery_app
from ibutsu_core.settings import Application, CelerySettings, DatabaseSettings, Settings
from ibutsu_core.slots import Slot
from ibutsu_server.applications import create_flask
from ibutsu_server.store import retention
from ibutsu_server.store.clock import SKEW, ClockError
from ibutsu_server.store.models import Maintenance, Run
from ibutsu_server.tasks import db

OLD = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
SLOT = Slot("prune-old-runs", OLD, OLD)
Call = Callable[[], dict[str, Any]]


@pytest.fixture
def engine(database: DatabaseSettings, broker_url: str) -> Iterator[tuple[sa.Engine, Call]]:
    """The worker's engine, with three old runs in its database, and the task, called in this process."""
    celery = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    flask = create_flask(Settings(application=Application.WORKER, celery=celery, database=database))
    app = create_flask_celery_app(flask, "tests", settings=celery)
    engine = flask.extensions["ibutsu_engine"]
    with engine.begin() as connection:
        for day in range(3):
            started = OLD + dt.timedelta(days=day)
            connection.execute(sa.insert(Run.__table__).values(id=uuid.uuid4(), start_time=started))  # type: ignore[arg-type]
    task = app.tasks[db.prune_old_runs.name]

    def call() -> dict[str, Any]:
        told: dict[str, Any] = task.apply(args=("12",), throw=True, headers=SLOT.headers()).get()
        return told

    yield engine, call
    assert engine.pool.checkedout() == 0
    app.close()
    engine.dispose()


def sent(broker_url: str) -> list[tuple[str, Slot | None, Any, float]]:
    """Return the messages on the queue: the task, its slot, its arguments, and in how many minutes it may run."""
    with Redis.from_url(broker_url) as client:
        messages = [json.loads(one) for one in client.lrange("ibutsu", 0, -1)]  # type: ignore[union-attr]
    return [
        (head["task"], Slot.of(head), json.loads(base64.b64decode(body))[0], _minutes(head["eta"]))
        for head, body in ((one["headers"], one["body"]) for one in messages)
    ]


def _minutes(eta: str | None) -> float:
    return round((dt.datetime.fromisoformat(eta) - dt.datetime.now(dt.UTC)).total_seconds() / 60) if eta else 0


def test_what_the_budget_leaves_is_sent_again_for_the_same_slot(
    engine: tuple[sa.Engine, Call], broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUDGET", 0.0)
    monkeypatch.setattr(retention, "MOST_RUNS", 1)
    told = [engine[1]() for _ in range(4)]
    assert [(one["runs"], one["complete"]) for one in told] == [(1, False), (1, False), (1, False), (0, True)]
    assert sent(broker_url) == [(db.prune_old_runs.name, SLOT, ["12"], 0)] * 3
    with engine[0].connect() as connection:
        row = connection.execute(sa.select(Maintenance.__table__)).one()
    assert (row.status, row.parts, row.attempts, row.counts["runs"]) == ("done", 3, 4, 3)
    assert "taken" in engine[1]()


def test_a_task_that_finds_another_at_it_deletes_nothing_and_comes_back(
    engine: tuple[sa.Engine, Call], broker_url: str
) -> None:
    with engine[0].connect() as connection, retention.exclusive(connection) as mine:
        assert mine
        told = engine[1]()
    assert (told["runs"], told["complete"]) == (0, False)
    assert sent(broker_url) == [(db.prune_old_runs.name, SLOT, ["12"], 1)]
    assert engine[1]()["runs"] == 3


@pytest.mark.parametrize("off", [dt.timedelta(days=36500), dt.timedelta(days=-366), SKEW * 1.2, SKEW * -1.2])
def test_a_clock_that_is_not_postgresqls_deletes_nothing_and_says_so(
    engine: tuple[sa.Engine, Call], off: dt.timedelta
) -> None:
    with freeze_time(dt.datetime.now(dt.UTC) + off), pytest.raises(ClockError) as raised:
        engine[1]()
    assert "nothing was deleted" in str(raised.value)
    with engine[0].connect() as connection:
        row = connection.execute(sa.select(Maintenance.__table__)).one()
        assert connection.scalar(sa.select(sa.func.count()).select_from(Run)) == 3
    assert (row.status, row.error) == ("error", str(raised.value))


def test_a_clock_that_is_a_little_off_prunes(engine: tuple[sa.Engine, Call]) -> None:
    with freeze_time(dt.datetime.now(dt.UTC) + SKEW * 0.8, tick=True):
        assert engine[1]()["runs"] == 3
