"""Runs and imports that their owners delete."""

from __future__ import annotations

import io
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import runs, uploads
from ibutsu_server.store.models import Artifact, Import, ProjectMember, Result, Run, UploadChunk


def count(session: Session, *models: type[Any]) -> list[int]:
    session.rollback()
    return [session.scalar(sa.select(sa.func.count()).select_from(model)) or 0 for model in models]


def test_a_run_goes_with_its_results_and_artifacts_and_no_other(
    ann: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BATCH", 2)
    run, other = ann.run(), ann.run()
    results = [ann.result(run) for _ in range(5)]
    kept = ann.result(other)
    for owner in ({"resultId": results[0]["id"]}, {"runId": run["id"]}, {"resultId": kept["id"]}):
        artifact = {"file": (io.BytesIO(b"x"), "file"), "filename": "a.log"} | owner
        assert ann.post("/artifact", data=artifact).status_code == 201
    assert count(session, Run, Result, Artifact) == [2, 6, 3]
    assert ann.delete(f"/run/{run['id']}").status_code == 200
    assert count(session, Run, Result, Artifact) == [1, 1, 1]
    assert ann.delete(f"/run/{run['id']}").status_code == 404


def test_a_pinned_run_stays_and_a_member_deletes_none(ann: Any, bob: Any, session: Session) -> None:
    run = ann.run()
    ann.result(run)
    session.add(ProjectMember(project_id=ann.project.id, user_id=bob.user.id))
    session.commit()
    refused = bob.delete(f"/run/{run['id']}")
    assert (refused.status_code, "owner" in refused.text) == (403, True)
    assert ann.put(f"/run/{run['id']}/pin").status_code == 200
    refused = ann.delete(f"/run/{run['id']}")
    assert (refused.status_code, "unpin" in refused.text) == (409, True)
    assert count(session, Run, Result) == [1, 1]


def test_an_import_goes_with_its_upload_unless_a_worker_is_at_it(ann: Any, bob: Any, session: Session) -> None:
    upload = {"importFile": (io.BytesIO(b"<testsuite/>"), "r.xml"), "project": str(ann.project.id)}
    found = ann.post("/import", data=upload).get_json()
    session.add(ProjectMember(project_id=ann.project.id, user_id=bob.user.id))
    session.commit()
    # A worker has its lock, and has not said so yet.
    assert uploads.lock(session, uuid.UUID(found["id"]))
    assert ann.delete(f"/import/{found['id']}").status_code == 409
    assert count(session, Import, UploadChunk) == [1, 1]
    assert bob.delete(f"/import/{found['id']}").status_code == 403
    assert ann.delete(f"/import/{found['id']}").status_code == 200
    assert count(session, Import, UploadChunk) == [0, 0]
