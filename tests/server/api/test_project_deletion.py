"""A project goes with all that belongs to it, however much that is and whatever comes meanwhile."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import projects
from ibutsu_server.store.models import Artifact, ArtifactChunk, Project, Result, Run


def counts(session: Session) -> list[int]:
    session.rollback()
    tables = (Project, Run, Result, Artifact, ArtifactChunk)
    return [session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in tables]


def fill(person: Any, runs: int) -> None:
    """Give the person's project so many runs, each of two results, and each of all these an artifact."""
    for _ in range(runs):
        run = person.run()
        results = [person.result(run) for _ in range(2)]
        for owner in ({"runId": run["id"]}, *({"resultId": result["id"]} for result in results)):
            form = {"filename": "log", "file": (io.BytesIO(b"x"), "file"), **owner}
            assert person.post("/artifact", data=form).status_code == 201


def test_a_project_is_deleted_in_batches_that_each_stay_deleted(
    ann: Any, boss: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projects, "BATCH", 2)
    deleted: list[tuple[str, int]] = []

    def note(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("DELETE FROM "):
            deleted.append((statement.split()[2], cursor.rowcount))

    fill(ann, runs=3)
    fill(boss, runs=1)
    engine = boss.client.application.extensions["ibutsu_engine"]
    sa.event.listen(engine, "after_cursor_execute", note)
    assert boss.delete(f"/admin/project/{ann.project.id}").status_code == 200
    assert max(count for _, count in deleted) == 2
    assert [deleted.count(one) for one in (("artifacts", 2), ("results", 2), ("runs", 2), ("runs", 1))] == [4, 3, 1, 1]
    assert counts(session) == [1, 1, 2, 3, 3]


def test_what_is_added_while_a_project_is_deleted_goes_with_it(ann: Any, boss: Any, session: Session) -> None:
    fill(ann, runs=1)

    def add(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("DELETE FROM runs") and not added:
            added.append(uuid.uuid4())
            session.add(Run(id=added[0], project_id=ann.project.id))
            session.flush()
            session.add(Result(id=uuid.uuid4(), run_id=added[0], project_id=ann.project.id))
            session.commit()

    added: list[uuid.UUID] = []
    sa.event.listen(boss.client.application.extensions["ibutsu_engine"], "after_cursor_execute", add)
    response = boss.delete(f"/admin/project/{ann.project.id}")
    assert (response.status_code, len(added)) == (200, 1), response.text
    assert counts(session) == [1, 0, 0, 0, 0]


def test_a_project_that_an_import_goes_into_is_to_be_deleted_again(
    ann: Any, boss: Any, limited: Callable[..., flask.Flask], session: Session
) -> None:
    session.add(Run(id=uuid.uuid4(), project_id=ann.project.id))
    session.flush()
    client = limited(lock_time=1).test_client()
    path, headers = f"/api/admin/project/{ann.project.id}", {"Authorization": f"Bearer {boss.token}"}
    response = client.delete(path, headers=headers)
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    session.commit()
    assert client.delete(path, headers=headers).status_code == 200
    assert counts(session) == [1, 0, 0, 0, 0]
