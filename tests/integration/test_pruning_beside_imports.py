"""Old runs are pruned while a worker imports, and late results come in: nothing young is lost, and nobody fails."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.pacing import Pace
from ibutsu_core.retention import Kind, RetentionPolicy
from ibutsu_core.settings import CelerySettings, DatabaseSettings
from ibutsu_server.store import artifacts, policies, projects, retention
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Import, Result, Run

NOW = dt.datetime.now(dt.UTC)
OLD = NOW - dt.timedelta(days=700)
IMPORTS = 12
TESTS = 200


def store_old_runs(session: Session) -> list[uuid.UUID]:
    """Store thirty old runs of fifty results each."""
    project = projects.find(session, "local")
    assert project is not None
    runs = [uuid.uuid4() for _ in range(30)]
    session.execute(sa.insert(Run), [{"id": run, "project_id": project.id, "start_time": OLD} for run in runs])
    rows = [{"id": uuid.uuid4(), "run_id": run, "project_id": project.id, "start_time": OLD, "data": {}}
            for run in runs for _ in range(50)]  # fmt: skip
    session.execute(sa.insert(Result), rows)
    session.commit()
    return runs


class LateReporter(threading.Thread):
    """Reports young results, with an artifact each, into old runs as they are pruned, and into a young one."""

    def __init__(self, session: Session, old: list[uuid.UUID]) -> None:
        super().__init__()
        self._session, self._old = session, old
        self.end = threading.Event()
        self.in_young: set[uuid.UUID] = set()

    def run(self) -> None:
        young = Run(id=uuid.uuid4(), start_time=NOW, data={})
        self._session.add(young)
        self._session.commit()
        number = 0
        while not self.end.is_set():
            number += 1
            for run in (young.id, self._old[number % len(self._old)]):
                key = uuid.uuid4()
                try:
                    self._session.execute(sa.insert(Result).values(id=key, run_id=run, start_time=NOW, data={}))
                    artifacts.write(self._session, [b"late"], filename="late.log", result_id=key)
                    self._session.commit()
                except exc.IntegrityError:
                    self._session.rollback()  # The old run is gone.
                    continue
                if run == young.id:
                    self.in_young.add(key)


def test_nothing_young_is_lost_and_nobody_fails(
    session: Session,
    other: Session,
    database: DatabaseSettings,
    broker_url: str,
    store_upload: Callable[..., uuid.UUID],
    *,
    start_worker: Callable[..., AbstractContextManager[Path]],
) -> None:
    old = store_old_runs(session)
    cases = "".join(f"<testcase classname='a' name='t{n}'><failure>f</failure></testcase>" for n in range(TESTS))
    text = f"<testsuite timestamp='{NOW.isoformat()}'>{cases}</testsuite>".encode()
    # Every other upload is of an old run, which is pruned at any moment.
    imports = [store_upload(text, f"{old[n] if n % 2 else uuid.uuid4()}.xml") for n in range(IMPORTS)]
    settings = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    celery = create_broker_celery_app("tests", settings=settings)
    reporter = LateReporter(other, old)
    engine = create_engine(database, application="pruner")
    with start_worker() as log, engine.connect() as connection:
        with connection.begin():
            found = policies.read(connection, RetentionPolicy())
        name = "ibutsu_server.tasks.importers.import_results"
        sent = [celery.send_task(name, (str(one),), task_id=str(one)) for one in imports]
        reporter.start()
        gone = 0
        try:
            while not all(one.ready() for one in sent):
                gone += retention.prune(Batches(connection, pace=Pace(3)), found, Kind, NOW).results.gone
        finally:
            reporter.end.set()
            reporter.join()
        assert all(one.get()["imported"] for one in sent), log.read_text()
        rest = retention.prune(Batches(connection), found, Kind, NOW)
    engine.dispose()
    session.rollback()
    assert rest.in_use == 0
    assert session.scalar(sa.select(Run.id).where(Run.start_time < NOW - dt.timedelta(days=1))) is None
    assert gone + rest.results.gone >= 30 * 50
    assert reporter.in_young
    assert reporter.in_young <= set(session.scalars(sa.select(Result.id)))
    for number, one in enumerate(imports):
        run_id = session.get_one(Import, one, populate_existing=True).run_id
        count = session.scalar(sa.select(sa.func.count()).where(Result.run_id == run_id))
        # An import makes its run anew, and young, where that was gone; what came into an old run goes with it.
        assert count >= TESTS or (number % 2 and count == 0 and session.get(Run, run_id) is None), number
