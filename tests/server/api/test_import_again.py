"""The same upload a second time, and a failed one tried again."""

from __future__ import annotations

import datetime as dt
import io
import threading
import uuid
from typing import Any

import flask
import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store.models import Import, Project, ProjectMember, Run, UploadChunk

REPORT = b"<testsuite><testcase name='a'/></testsuite>"


def send(person: Any, content: bytes = REPORT, filename: str = "report.xml", **form: str) -> dict[str, Any]:
    form = {"project": f"{person.user.email.partition('@')[0]}-project"} | form
    response = person.post("/import", data=form | {"importFile": (io.BytesIO(content), filename)})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.get_json()
    return answer


def end(session: Session, import_id: str, status: str, **values: Any) -> None:
    """Let the import end as a worker would."""
    row = session.get_one(Import, uuid.UUID(import_id), populate_existing=True)
    row.status = status
    if status == "done":
        row.run_id = uuid.uuid4()
        session.add(Run(id=row.run_id, project_id=row.project_id))
        session.flush()
        session.execute(sa.delete(UploadChunk).where(UploadChunk.import_id == row.id))
    for name, value in values.items():
        setattr(row, name, value)
    session.commit()


def queued(broker_url: str) -> int:
    with redis.Redis.from_url(broker_url) as client:
        return int(client.llen("ibutsu"))  # type: ignore[arg-type]


def counts(session: Session) -> tuple[int, int]:
    session.rollback()
    return tuple(session.scalar(sa.select(sa.func.count()).select_from(table)) for table in (Import, UploadChunk))  # type: ignore[return-value]


def test_the_same_bytes_answer_with_the_run_that_they_became(ann: Any, session: Session, broker_url: str) -> None:
    first = send(ann)
    end(session, first["id"], "done")
    again = send(ann, filename="another name.xml")
    assert (again["id"], again["status"]) == (first["id"], "done")
    assert again["run_id"] == str(session.get_one(Import, uuid.UUID(first["id"])).run_id)
    assert "force" in again["metadata"]["message"]
    assert counts(session) == (1, 0), "The second upload leaves nothing."
    assert queued(broker_url) == 1


def test_the_same_bytes_while_they_wait_are_one_import(ann: Any, session: Session, broker_url: str) -> None:
    assert send(ann)["id"] == send(ann)["id"]
    assert counts(session) == (1, 1)
    assert queued(broker_url) == 1


def test_force_imports_them_once_more(ann: Any, session: Session, broker_url: str) -> None:
    first = send(ann)
    second = send(ann, force="true")
    assert first["id"] != second["id"]
    assert send(ann)["id"] == second["id"], "The newest one is answered with."
    assert queued(broker_url) == 2
    form = {"project": "ann-project", "force": "perhaps", "importFile": (io.BytesIO(REPORT), "r.xml")}
    refused = ann.post("/import", data=form)
    assert refused.status_code == 400
    assert "perhaps" in refused.text


@pytest.mark.parametrize(
    "form",
    [{"source": "nightly"}, {"metadata": '{"env": "arm"}'}, {"filename": f"{uuid.uuid4()}.xml"}, {"content": b"x"}],
)
def test_what_says_something_else_is_another_import(ann: Any, form: dict[str, Any]) -> None:
    assert send(ann)["id"] != send(ann, **form)["id"]


def test_the_same_bytes_of_another_project_are_another_import(ann: Any, bob: Any, session: Session) -> None:
    session.add(ProjectMember(project_id=bob.project.id, user_id=ann.user.id))
    session.commit()
    assert len({send(ann)["id"], send(bob)["id"], send(ann, project="bob-project")["id"]}) == 2


def test_an_upload_that_names_no_project_is_known_to_its_user_only(ann: Any, bob: Any) -> None:
    def upload(person: Any) -> str:
        form = {"importFile": (io.BytesIO(b"archive"), "r.tar.gz")}
        return str(person.post("/import", data=form).get_json()["id"])

    assert upload(ann) == upload(ann) != upload(bob)


def test_bytes_whose_import_failed_or_whose_run_is_gone_are_imported_anew(ann: Any, session: Session) -> None:
    failed = send(ann)
    end(session, failed["id"], "error")
    second = send(ann)
    assert second["id"] != failed["id"]
    end(session, second["id"], "done")
    session.execute(sa.delete(Run))
    session.commit()
    assert send(ann)["id"] not in (failed["id"], second["id"])


def test_bytes_whose_run_another_upload_has_changed_since_are_imported_anew(ann: Any, session: Session) -> None:
    first, second = send(ann), send(ann, b"<testsuite/>")
    end(session, first["id"], "done", finished=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    run_id = session.get_one(Import, uuid.UUID(first["id"])).run_id
    assert send(ann)["id"] == first["id"]
    values = {"status": "done", "run_id": run_id, "finished": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}
    session.execute(sa.update(Import).where(Import.id == uuid.UUID(second["id"])).values(**values))
    session.commit()
    assert send(ann)["id"] not in (first["id"], second["id"])
    assert send(ann, b"<testsuite/>")["id"] == second["id"]


def test_a_failed_import_is_not_tried_again_where_the_same_was_sent_since(ann: Any, session: Session) -> None:
    failed = send(ann)["id"]
    end(session, failed, "error")
    since = send(ann)["id"]
    answer = ann.post(f"/import/{failed}/retry")
    assert answer.status_code == 409
    assert since in answer.text


def test_the_same_bytes_at_the_same_instant_are_one_import(app: flask.Flask, ann: Any, session: Session) -> None:
    answers: list[str] = []
    start = threading.Barrier(6)

    def upload() -> None:
        client = app.test_client()
        form = {"project": "ann-project", "importFile": (io.BytesIO(REPORT), "r.xml")}
        start.wait()
        response = client.post("/api/import", data=form, headers={"Authorization": f"Bearer {ann.token}"})
        answers.append(response.get_json()["id"])

    threads = [threading.Thread(target=upload) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert counts(session) == (1, 1)


def test_a_failed_import_is_tried_again(ann: Any, session: Session, broker_url: str) -> None:
    known = send(ann)["id"]
    end(session, known, "error", error="r.xml is bad.", attempts=5, lost=5, retries=2)
    answer = ann.post(f"/import/{known}/retry")
    assert answer.status_code == 200
    assert (answer.get_json()["status"], answer.get_json()["attempts"]) == ("pending", 0)
    row = session.get_one(Import, uuid.UUID(known), populate_existing=True)
    assert (row.status, row.attempts, row.lost, row.retries) == ("pending", 0, 0, 0)
    assert row.sent is not None
    assert queued(broker_url) == 2


def test_an_import_that_waits_is_sent_again(ann: Any, session: Session, broker_url: str) -> None:
    known = send(ann)["id"]
    with redis.Redis.from_url(broker_url) as client:
        client.flushall()
    answer = ann.post(f"/import/{known}/retry")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "pending")
    assert queued(broker_url) == 1


@pytest.mark.parametrize("status", ["running", "done"])
def test_an_import_that_has_not_failed_is_not_tried_again(ann: Any, session: Session, status: str) -> None:
    known = send(ann)["id"]
    end(session, known, status)
    answer = ann.post(f"/import/{known}/retry")
    assert answer.status_code == 409
    assert status in answer.text


def test_an_import_without_its_upload_is_not_tried_again(ann: Any, session: Session) -> None:
    known = send(ann)["id"]
    end(session, known, "error")
    session.execute(sa.delete(UploadChunk))
    session.commit()
    answer = ann.post(f"/import/{known}/retry")
    assert answer.status_code == 409
    assert "no longer stored" in answer.text


def test_only_who_may_see_an_import_may_try_it_again(ann: Any, bob: Any, session: Session) -> None:
    known = send(ann)["id"]
    end(session, known, "error")
    assert bob.post(f"/import/{known}/retry").status_code == 403
    assert bob.post(f"/import/{uuid.uuid4()}/retry").status_code == 404
    assert bob.post("/import/nothing/retry").status_code == 400
    assert session.get_one(Project, ann.project.id) is not None
