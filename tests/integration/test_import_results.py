"""An upload becomes a run with its results and artifacts: once, as a whole, or not at all."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings, DatabaseSettings
from ibutsu_server.store import artifacts
from ibutsu_server.store.models import Artifact, ArtifactChunk, Import, Result, Run, UploadChunk

Store = Callable[..., uuid.UUID]

JUNIT = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="suite" tests="9" timestamp="2026-03-01T10:00:00+01:00">
<properties><property name="build" value="7"/></properties>
<testcase classname="pkg.mod.TestThing" name="test_ok[1.5]" time="1.5"/>
<testcase classname="pkg.mod" name="test_bad" time="0.25"><failure message="boom">Traceback: boom</failure></testcase>
<testcase classname="pkg.mod" name="test_err" time="0.5"><error message="no">fixture</error></testcase>
<testcase classname="pkg.mod" name="test_skip"><skipped message="not today"/></testcase>
</testsuite></testsuites>
"""


@pytest.fixture
def database(database_with_worker: DatabaseSettings) -> DatabaseSettings:
    """Where the worker that these tests share works."""
    return database_with_worker


@pytest.fixture
def celery(broker_url: str) -> Celery:
    """What the API sends tasks with."""
    return create_broker_celery_app("tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url))


def send(celery: Celery, import_id: uuid.UUID, *, task_id: str | None = None) -> Any:
    """Send the import's task."""
    return celery.send_task(
        "ibutsu_server.tasks.importers.import_results", (str(import_id),), task_id=task_id or str(import_id)
    )


def rows(session: Session) -> dict[str, int]:
    """Count the rows that imports make."""
    session.rollback()
    return {
        table.__tablename__: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for table in (Run, Result, Artifact, ArtifactChunk)
    }


def archive(run_id: uuid.UUID, results: dict[uuid.UUID, dict[str, Any]], files: dict[str, bytes]) -> bytes:
    """Make an archive as pytest-ibutsu does, with more files by their path."""
    members = {f"{run_id}/run.json": json.dumps({"id": str(run_id), "metadata": {"project": "local"}}).encode()}
    for result_id, result in results.items():
        members[f"{run_id}/{result_id}/result.json"] = json.dumps({"id": str(result_id), **result}).encode()
    members.update(files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_junit_report_becomes_a_run(session: Session, store_upload: Store, celery: Celery) -> None:
    import_id = store_upload(JUNIT, source="ci", form={"component": "shop", "jenkins": {"build_number": 7}})
    outcome = send(celery, import_id).get(timeout=30)
    again = send(celery, import_id, task_id=str(uuid.uuid4())).get(timeout=30)
    assert outcome["imported"] is True
    assert again["imported"] is False
    assert rows(session) == {"runs": 1, "results": 4, "artifacts": 2, "artifact_chunks": 2}
    run = session.get_one(Run, uuid.UUID(outcome["run_id"]))
    assert run.summary is not None
    expected = {"tests": 4, "failures": 1, "errors": 1, "skips": 1, "passes": 1, "pass_percent": 25, "collected": 0}
    assert {key: run.summary[key] for key in expected} == expected
    assert (run.source, run.component, run.duration) == ("ci", "shop", 2.25)
    assert run.data["jenkins"] == {"build_number": 7}
    assert run.start_time is not None
    assert run.start_time.isoformat() == "2026-03-01T09:00:00+00:00"
    assert any("9" in note for note in run.data["import_notes"])
    stored = {result.test_id: result for result in session.scalars(sa.select(Result))}
    assert set(stored) == {"TestThing.test_ok[1.5]", "mod.test_bad", "mod.test_err", "mod.test_skip"}
    assert stored["mod.test_bad"].result == "failed"
    assert stored["mod.test_bad"].data["build"] == "7"
    assert stored["mod.test_bad"].component == "shop"
    traceback = session.scalar(sa.select(Artifact).where(Artifact.result_id == stored["mod.test_bad"].id))
    assert traceback is not None
    assert traceback.filename == "traceback.log"
    assert b"Traceback: boom" in b"".join(artifacts.chunks_of(session, traceback.id))
    done = session.get_one(Import, import_id, populate_existing=True)
    assert (done.status, done.run_id, done.format, done.attempts) == ("done", run.id, "junit", 1)
    assert session.scalar(sa.select(sa.func.count()).select_from(UploadChunk)) == 0


def test_importing_an_archive_again_updates_and_never_doubles(
    session: Session, store_upload: Store, celery: Celery
) -> None:
    run_id, one, two = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    result = {"test_id": "test_a", "result": "failed", "duration": 1.0, "metadata": {"run": str(run_id)}}
    big = bytes(range(256)) * 5000
    files = {f"{run_id}/{one}/a/shot.png": big, f"{run_id}/notes.txt": b"notes"}
    first = archive(run_id, {one: result}, files)
    second = archive(run_id, {one: {**result, "result": "passed"}, two: result}, {f"{run_id}/{one}/a/shot.png": big})
    for content in (first, first, second):
        assert send(celery, store_upload(content, "r.tar.gz", project=None)).get(timeout=30)["imported"]
    assert rows(session) == {"runs": 1, "results": 2, "artifacts": 2, "artifact_chunks": 4}
    run = session.get_one(Run, run_id)
    assert run.summary is not None
    assert (run.summary["tests"], run.summary["failures"], run.summary["passes"]) == (2, 1, 1)
    assert session.get_one(Result, one).result == "passed"
    shot = session.scalars(sa.select(Artifact).where(Artifact.result_id == one)).one()
    assert shot.filename == "a/shot.png"
    assert b"".join(artifacts.chunks_of(session, shot.id)) == big


def test_files_that_name_one_run_add_up_and_each_again_changes_nothing(
    session: Session, store_upload: Store, celery: Celery
) -> None:
    run_id = uuid.uuid4()
    shards = [
        b"<testsuite time='2'><testcase name='a' time='2'><failure>no</failure></testcase></testsuite>",
        b"<testsuite time='3'><testcase name='b' time='1'/><testcase name='c' time='2'/></testsuite>",
    ]
    for number in (0, 1, 0, 1):
        upload = store_upload(shards[number], f"build-{run_id}-shard{number}.xml")
        assert send(celery, upload).get(timeout=30)["imported"]
        run = session.get(Run, run_id, populate_existing=True)
    assert rows(session) == {"runs": 1, "results": 3, "artifacts": 1, "artifact_chunks": 1}
    assert run is not None
    assert run.summary is not None
    assert (run.summary["tests"], run.summary["failures"], run.duration) == (3, 1, 5)
    artifact = session.scalars(sa.select(Artifact)).one()
    assert session.get_one(Result, artifact.result_id).test_id == "a"


@pytest.mark.parametrize("place", ["last", "missing"])
def test_the_results_of_an_archive_are_in_its_project_wherever_it_is_named(
    session: Session, store_upload: Store, celery: Celery, place: str
) -> None:
    run_id = uuid.uuid4()
    ids = [uuid.uuid4() for _ in range(3)]
    members = {
        f"{run_id}/{one}/result.json": {"test_id": "t", "result": "passed", "metadata": {"project": "local"}}
        for one in ids
    }
    if place == "last":
        members[f"{run_id}/run.json"] = {"id": str(run_id), "metadata": {"project": "local"}}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for _ in range(2):
        upload = store_upload(buffer.getvalue(), "r.tar.gz", project=None)
        assert send(celery, upload).get(timeout=30)["imported"]
        session.rollback()
        run = session.get_one(Run, run_id, populate_existing=True)
        stored = session.scalars(sa.select(Result.project_id).where(Result.run_id == run_id)).all()
        assert stored == [run.project_id] * 3
        assert run.project_id is not None


def test_an_archive_cannot_change_a_run_of_another_project(
    session: Session, store_upload: Store, celery: Celery
) -> None:
    from ibutsu_server.store.models import Project

    other = Project(name="other")
    session.add(other)
    session.flush()
    run = Run(id=uuid.uuid4(), project_id=other.id, data={"kept": True})
    session.add(run)
    session.commit()
    content = archive(run.id, {uuid.uuid4(): {"test_id": "t", "result": "passed"}}, {})
    outcome = send(celery, store_upload(content, "r.tar.gz"))
    with pytest.raises(Exception, match="another project"):
        outcome.get(timeout=30)
    assert rows(session)["results"] == 0
    assert session.get_one(Run, run.id, populate_existing=True).data == {"kept": True}


BROKEN = {
    "truncated XML": (JUNIT[:-150], "report.xml"),
    "no XML": (b"hello, this is a log file\n", "report.xml"),
    "an empty file": (b"", "report.xml"),
    "another XML": (b"<html><body/></html>", "report.xml"),
    "a tar.gz that is none": (b"not a gzip at all", "report.tar.gz"),
    "gzip of no tar": (gzip.compress(b"plain text, no archive"), "report.tar.gz"),
    "a cut tar.gz": (archive(uuid.uuid4(), {uuid.uuid4(): {"test_id": "t", "result": "passed"}}, {})[:150], "r.tar.gz"),
}


def test_a_broken_report_ends_as_an_error_with_a_sentence_and_leaves_no_row(
    session: Session, store_upload: Store, celery: Celery, logged: Callable[[], str]
) -> None:
    ids = {name: store_upload(content, filename) for name, (content, filename) in BROKEN.items()}
    good = store_upload(JUNIT, "report.tar.gz")
    outcomes = {name: send(celery, import_id) for name, import_id in ids.items()}
    assert send(celery, good).get(timeout=60)["imported"], "content decides, not the wrong extension"
    for outcome in outcomes.values():
        outcome.get(timeout=30, propagate=False)
    assert {outcome.state for outcome in outcomes.values()} == {"FAILURE"}
    session.rollback()
    for name, import_id in ids.items():
        row = session.get_one(Import, import_id, populate_existing=True)
        assert row.status == "error", name
        assert row.error, name
        assert row.filename in row.error, (name, row.error)
        assert "\n" not in row.error, name
        assert row.attempts == 1, name
    assert rows(session) == {"runs": 1, "results": 4, "artifacts": 2, "artifact_chunks": 2}
    assert "Traceback (most recent call last)" not in logged()
