"""Retention, repair and queries, run by a real worker."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings, DatabaseSettings
from ibutsu_server.store import artifacts, projects
from ibutsu_server.store.models import Artifact, ArtifactChunk, Import, Result, Run, UploadChunk, User

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def database(database_with_worker: DatabaseSettings) -> DatabaseSettings:
    """Where the worker that these tests share works."""
    return database_with_worker


@pytest.fixture
def call(session: Session, broker_url: str) -> Callable[..., Any]:
    """Run tasks, by their name after `ibutsu_server.tasks.`, in a real worker; returns the task's result."""
    settings = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    celery: Celery = create_broker_celery_app("tests", settings=settings)

    def call(name: str, *args: object, **kwargs: object) -> Any:
        return celery.send_task(f"ibutsu_server.tasks.{name}", args, kwargs).get(timeout=120)

    return call


def add_run(session: Session, months_old: float, *, results: int = 2) -> uuid.UUID:
    """Store a run of that age, each of its results with an artifact, and an artifact of its own."""
    project = projects.find(session, "local")
    assert project is not None
    then = NOW - dt.timedelta(days=months_old * 30.5)
    run = Run(id=uuid.uuid4(), project_id=project.id, start_time=then, data={})
    session.add(run)
    session.flush()
    made = [artifacts.write(session, [b"log"], filename="run.log", run_id=run.id)]
    for number in range(results):
        result = Result(
            id=uuid.uuid4(), run_id=run.id, project_id=project.id, test_id=f"test_{number}", result="passed",
            start_time=then, duration=1.0, data={"n": number},
        )  # fmt: skip
        session.add(result)
        session.flush()
        made.append(artifacts.write(session, [b"traceback"], filename="t.log", result_id=result.id))
    for artifact in made:
        artifact.upload_date = then
    session.commit()
    return run.id


def counts(session: Session) -> tuple[int, ...]:
    """Return how many runs, results, artifacts and chunks there are."""
    session.rollback()
    tables = (Run, Result, Artifact, ArtifactChunk)
    return tuple(session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in tables)


def test_pruning_deletes_what_is_old_and_says_what(session: Session, call: Callable[..., Any]) -> None:
    add_run(session, 1)
    add_run(session, 4)
    add_run(session, 7)
    old = add_run(session, 14)
    assert counts(session) == (4, 8, 12, 12)
    files = call("db.prune_old_files", 3)
    assert (files["artifacts"], files["bytes"]) == (9, 3 * (3 + 2 * 9))
    assert counts(session) == (4, 8, 3, 3)
    results = call("db.prune_old_results", "5")
    assert (results["results"], results["artifacts"]) == (4, 0)
    assert counts(session) == (4, 4, 3, 3)
    runs = call("db.prune_old_runs", 12)
    assert (runs["runs"], runs["results"]) == (1, 0)
    assert session.get(Run, old) is None


def test_a_run_takes_its_results_and_artifacts_along(session: Session, call: Callable[..., Any]) -> None:
    add_run(session, 14)
    kept = add_run(session, 11)
    assert call("db.prune_old_runs", 12) | {"cutoff": "", "seconds": 0} == {
        "cutoff": "", "runs": 1, "results": 2, "artifacts": 3, "uploads": 0, "imports": 0, "bytes": 21, "disk": 0,
        "in_use": 0, "complete": True, "seconds": 0,
    }  # fmt: skip
    assert counts(session) == (1, 2, 3, 3)
    assert session.get(Run, kept) is not None


def test_a_senseless_argument_raises_and_deletes_nothing(session: Session, call: Callable[..., Any]) -> None:
    add_run(session, 30)
    for task, months in (("files", 1), ("files", 5), ("results", "x"), ("runs", 9), ("runs", 0)):
        with pytest.raises(Exception, match=r"months|artifacts|runs"):
            call(f"db.prune_old_{task}", months)
    assert counts(session) == (1, 2, 3, 3)


def test_a_summary_is_computed_from_the_results(session: Session, call: Callable[..., Any]) -> None:
    run_id = add_run(session, 1, results=3)
    session.execute(sa.update(Run).where(Run.id == run_id).values(summary={"collected": 5, "note": "kept"}))
    session.execute(sa.update(Result).where(Result.test_id == "test_0").values(result="failed"))
    session.commit()
    summary = call("runs.update_run", str(run_id))["summary"]
    assert summary == {
        "tests": 3, "failures": 1, "errors": 0, "skips": 0, "xfailures": 0, "xpasses": 0, "passes": 2,
        "pass_percent": 66, "collected": 5, "not_run": 2, "note": "kept",
    }  # fmt: skip
    session.rollback()
    run = session.get_one(Run, run_id, populate_existing=True)
    assert (run.summary, run.duration) == (summary, 3.0)
    assert call("runs.update_run", str(uuid.uuid4()))["found"] is False


def test_what_was_cut_short_is_repaired(
    session: Session, call: Callable[..., Any], store_upload: Callable[..., uuid.UUID]
) -> None:
    untrue = add_run(session, 1)
    forgotten = store_upload(b"<testsuite><testcase name='t'/></testsuite>")
    fresh = store_upload(b"<testsuite><testcase name='u'/></testsuite>")
    old = {"created": NOW - dt.timedelta(hours=1)}
    session.execute(sa.update(Import).where(Import.id == forgotten).values(**old))
    lost = store_upload(b"<testsuite><testcase name='v'/></testsuite>")
    values = {"status": "running", "attempts": 1, "sent": NOW - dt.timedelta(minutes=2)}
    session.execute(sa.update(Import).where(Import.id == lost).values(started=NOW - dt.timedelta(minutes=1), **values))
    newest = session.scalar(sa.text("SELECT max(relname) FROM pg_class WHERE relname ~ '^artifact_chunks_[0-9_]+$'"))
    session.execute(sa.text(f"DROP TABLE {newest}"))
    session.commit()
    outcome = call("runs.sync_aborted_runs")
    assert outcome == {"repaired": 1, "failed": 0, "aborted": 0, "sent": 2, "partitions": [newest]}
    call("runs.update_run", str(untrue))  # Behind the two imports in the queue of one worker.
    session.rollback()
    statuses = {row.id: row.status for row in session.scalars(sa.select(Import))}
    assert statuses == {forgotten: "done", lost: "done", fresh: "pending"}
    assert call("runs.sync_aborted_runs") == {"repaired": 0, "failed": 0, "aborted": 0, "sent": 0, "partitions": []}


def test_start_times_that_a_client_left_out_are_filled(session: Session, call: Callable[..., Any]) -> None:
    run_id = add_run(session, 1)
    session.execute(sa.update(Result).where(Result.test_id == "test_0").values(start_time=None))
    session.commit()
    assert call("results.add_result_start_time", str(run_id)) == {"run_id": str(run_id), "results": 1}
    session.rollback()
    run = session.get_one(Run, run_id)
    assert set(session.scalars(sa.select(Result.start_time))) == {run.start_time}


def test_a_query_gives_the_page_that_the_user_may_see(session: Session, call: Callable[..., Any]) -> None:
    run_id = add_run(session, 1, results=5)
    admin = str(session.scalar(sa.select(User.id)))
    page = call("query.query_task", "results", [f"run_id={run_id}"], 2, 2, user_id=admin)
    assert page["pagination"] == {"page": 2, "pageSize": 2, "totalItems": 5, "totalPages": 3}
    assert [set(entry) >= {"id", "test_id", "metadata", "start_time"} for entry in page["results"]] == [True, True]
    stranger = User(email="stranger@example.com")
    session.add(stranger)
    session.commit()
    page = call("query.query_task", "results", [], user_id=str(stranger.id))
    assert page["results"] == []
    with pytest.raises(Exception, match="is not of the form"):
        call("query.query_task", "runs", ["nonsense"], user_id=admin)


def test_uploads_of_imports_that_failed_long_ago_are_deleted(
    session: Session, store_upload: Callable[..., uuid.UUID], call: Callable[..., Any]
) -> None:
    keys = [store_upload(f"upload {days}".encode()) for days in (40, 20)]
    for key, days in zip(keys, (40, 20), strict=True):
        row = session.get_one(Import, key)
        row.status, row.finished = "error", NOW - dt.timedelta(days=days)
    session.commit()
    assert call("db.prune_old_import_files", 30)["uploads"] == 1
    session.rollback()
    assert session.scalars(sa.select(UploadChunk.import_id)).all() == [keys[1]]
    assert session.get(Import, keys[0]) is not None
    with pytest.raises(ValueError, match="0 days"):
        call("db.prune_old_import_files", 0)
