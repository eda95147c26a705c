"""Uploads: stored whole or not at all, in little memory, and sent to the worker after that."""

from __future__ import annotations

import io
import json
import re
import secrets
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store.models import Import, UploadChunk


def stored(session: Session) -> tuple[int, int]:
    session.rollback()
    count = sa.func.count()
    return session.scalar(sa.select(count).select_from(Import)) or 0, session.scalar(
        sa.select(count).select_from(UploadChunk)
    ) or 0


def content_of(session: Session, import_id: str) -> bytes:
    chunks = session.scalars(
        sa.select(UploadChunk.data).where(UploadChunk.import_id == uuid.UUID(import_id)).order_by(UploadChunk.position)
    )
    return b"".join(chunks)


def messages(broker_url: str) -> list[dict[str, Any]]:
    with redis.Redis.from_url(broker_url) as client:
        return [json.loads(text) for text in client.lrange("ibutsu", 0, -1)]  # type: ignore[union-attr]


@pytest.mark.parametrize("file_first", [True, False])
def test_an_upload_is_stored_and_its_task_sent(ann: Any, session: Session, broker_url: str, file_first: bool) -> None:
    content = secrets.token_bytes(1_300_000)
    file = {"importFile": (io.BytesIO(content), "grüße 雪.xml")}
    fields = {"project": "ann-project", "source": "ci", "metadata": '{"a": {"b": 1}}', "other": "ignored"}
    response = ann.post("/import", data=file | fields if file_first else fields | file)
    assert response.status_code == 201
    answer = response.get_json()
    assert (answer["status"], answer["filename"], answer["run_id"]) == ("pending", "grüße 雪.xml", None)
    assert answer["metadata"]["run_id"] == []
    assert answer["metadata"]["project_id"] == str(ann.project.id)
    row = session.get(Import, uuid.UUID(answer["id"]))
    assert row is not None
    assert (row.size, row.source, row.data) == (len(content), "ci", {"form": {"a": {"b": 1}}})
    assert row.sent is not None
    assert content_of(session, answer["id"]) == content
    (message,) = messages(broker_url)
    assert message["headers"]["task"] == "ibutsu_server.tasks.importers.import_results"
    assert message["headers"]["id"] == answer["id"]
    assert message["headers"]["argsrepr"] == f"['{answer['id']}']"
    assert ann.get(f"/import/{answer['id']}").get_json()["status"] == "pending"
    assert [one["id"] for one in ann.get("/import").get_json()["imports"]] == [answer["id"]]


@pytest.mark.parametrize(
    ("status", "form"),
    [
        (400, {"project": "ann-project"}),
        (400, {"importFile": "a text", "project": "ann-project"}),
        (400, {"project": "nothing"}),
        (400, {"project": str(uuid.uuid4())}),
        (403, {"project": "bob-project"}),
        (400, {"metadata": "{"}),
        (400, {"metadata": "[1]"}),
        (413, {"source": "x" * 2_000_000}),
    ],
)
@pytest.mark.parametrize("file_first", [True, False])
def test_a_refused_upload_leaves_nothing(
    ann: Any, bob: Any, session: Session, broker_url: str, *, status: int, form: dict[str, str], file_first: bool
) -> None:
    file: dict[str, Any] = {"importFile": (io.BytesIO(b"<testsuite/>"), "r.xml")}
    if status == 400 and "metadata" not in form and form["project"] == "ann-project":
        file = {}
    response = ann.post("/import", data=file | form if file_first else form | file)
    assert (response.status_code, response.is_json) == (status, True)
    assert response.get_json()["detail"].endswith(".")
    assert stored(session) == (0, 0)
    assert messages(broker_url) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "multipart/form-data; boundary=x", 400),
        (b"junk", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n", "multipart/form-data", 400),
        (b"--x\r\n" + b"h" * 2_000_000, "multipart/form-data; boundary=x", 413),
        (b"{}", "application/json", 415),
    ],
)
def test_a_body_that_is_no_form(ann: Any, session: Session, body: bytes, kind: str, status: int) -> None:
    response = ann.post("/import", data=body, content_type=kind)
    assert (response.status_code, response.is_json) == (status, True)
    assert stored(session) == (0, 0)


def test_without_redis_the_upload_waits_and_the_answer_says_so(
    ann: Any, offline: flask.Flask, session: Session
) -> None:
    began = time.monotonic()
    response = offline.test_client().post(
        "/api/import",
        data={"importFile": (io.BytesIO(b"<testsuite/>"), "r.xml"), "project": "ann-project"},
        headers={"Authorization": f"Bearer {ann.token}"},
    )
    assert time.monotonic() - began < 60, "it does not try for ever"
    assert response.status_code == 201
    answer = response.get_json()
    assert answer["status"] == "pending"
    assert "queue" in answer["metadata"]["message"]
    row = session.get(Import, uuid.UUID(answer["id"]))
    assert row is not None
    assert row.sent is None
    assert ann.get(f"/import/{row.id}").status_code == 200
    session.refresh(row)
    assert row.sent is not None, "Whoever asks for it when Redis is back has it sent."


def test_a_running_import_tells_its_progress_and_does_not_need_redis_for_its_state(
    ann: Any, offline: flask.Flask, session: Session, broker_url: str
) -> None:
    form = {"importFile": (io.BytesIO(b"<testsuite/>"), "r.xml"), "project": "ann-project"}
    known = ann.post("/import", data=form).get_json()["id"]
    session.execute(sa.update(Import).values(status="running"))
    session.commit()
    assert ann.get(f"/import/{known}").get_json()["metadata"]["progress"] is None
    meta = {"bytes_read": 5, "bytes_total": 12, "results": 3}
    with redis.Redis.from_url(broker_url) as client:
        client.set(f"celery-task-meta-{known}", json.dumps({"status": "PROGRESS", "result": meta}))
    assert ann.get(f"/import/{known}").get_json()["metadata"]["progress"] == meta
    headers = {"Authorization": f"Bearer {ann.token}"}
    away = offline.test_client().get(f"/api/import/{known}", headers=headers).get_json()
    assert (away["status"], away["metadata"]["progress"]) == ("running", None)


def test_a_finished_import_names_its_run_and_a_failed_one_its_reason(ann: Any, session: Session) -> None:
    form = {"project": "ann-project"}
    ids = [
        ann.post("/import", data=form | {"importFile": (io.BytesIO(text), "r.xml")}).get_json()["id"]
        for text in (b"x", b"y")
    ]
    run_id = uuid.uuid4()
    session.execute(
        sa.update(Import).where(Import.id == uuid.UUID(ids[0]))
        .values(status="done", run_id=run_id, data={"notes": ["n."]})
    )  # fmt: skip
    session.execute(
        sa.update(Import).where(Import.id == uuid.UUID(ids[1])).values(status="error", error="r.xml is bad.")
    )
    session.commit()
    done, failed = (ann.get(f"/import/{known}").get_json() for known in ids)
    assert (done["run_id"], done["metadata"]["run_id"]) == (str(run_id), [str(run_id)])
    assert done["metadata"]["notes"] == ["n."]
    assert (failed["status"], failed["error"], failed["run_id"]) == ("error", "r.xml is bad.", None)
    listed = ann.get("/import?filter=status=error").get_json()["imports"]
    assert [one["id"] for one in listed] == [ids[1]]


def test_an_upload_without_a_project_is_seen_by_its_user_only(ann: Any, bob: Any) -> None:
    known = ann.post("/import", data={"importFile": (io.BytesIO(b"x"), "r.tar.gz")}).get_json()["id"]
    assert ann.get(f"/import/{known}").status_code == 200
    assert bob.get(f"/import/{known}").status_code == 403
    assert len(ann.get("/import").get_json()["imports"]) == 1
    assert bob.get("/import").get_json()["imports"] == []


def peak_memory(pid: int) -> int:
    """The process's largest resident set so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024  # type: ignore[union-attr]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
def test_memory_does_not_grow_with_the_upload(gunicorn: tuple[str, int], ann: Any, session: Session) -> None:
    address, pid = gunicorn
    headers = {"Authorization": f"Bearer {ann.token}"}
    url = f"http://{address}/api/import"

    def upload(size: int) -> httpx.Response:
        def body() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="importFile"; filename="r.xml"\r\n\r\n'
            for _ in range(size // 100_000):
                yield bytes(100_000)
            yield b"\r\n--x--\r\n"

        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return httpx.post(url, headers=headers | kind, content=body(), timeout=120)

    assert upload(1_000_000).status_code == 201
    before = peak_memory(pid)
    answer = upload(150_000_000)
    assert answer.status_code == 201
    assert answer.json()["size"] == 150_000_000
    assert peak_memory(pid) - before < 30_000_000


def test_an_upload_that_is_cut_off_leaves_nothing(gunicorn: tuple[str, int], ann: Any, session: Session) -> None:
    host, _, port = gunicorn[0].partition(":")
    head = b'--x\r\nContent-Disposition: form-data; name="importFile"; filename="r.xml"\r\n\r\n'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /api/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n".encode()
        )
        connection.sendall(head + b"y" * 3_000_000)
        time.sleep(0.5)
    deadline = time.monotonic() + 60
    busy = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
                   " AND backend_type = 'client backend' AND pid <> pg_backend_pid()")  # fmt: skip
    while session.scalar(busy) and time.monotonic() < deadline:
        session.rollback()
        time.sleep(0.1)
    assert stored(session) == (0, 0)
