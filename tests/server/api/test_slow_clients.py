"""Clients that stop in the middle, without a word: they keep no thread of the API, and no transaction."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import artifacts
from ibutsu_server.store.models import Import

BEGUN = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
SIZE = 30_000_000
"""Bytes, more than the sockets' buffers take."""

PATIENCE = 60
"""Seconds."""


@pytest.fixture
def impatient(environment: dict[str, str]) -> None:
    environment["IBUTSU_API_MAX_CLIENT_TIME"] = "1"


CUT_OFF = b"HTTP/1.1 400 BAD REQUEST"


def halves(token: str, artifact_id: str) -> list[bytes]:
    """Requests that stop: in their first lines, in an upload, in a JSON body, and in taking a large answer."""
    asked = f"Host: x\r\nAuthorization: Bearer {token}\r\n"
    form = f"{asked}Content-Type: multipart/form-data; boundary=x\r\n"
    upload = '--x\r\nContent-Disposition: form-data; name="importFile"; filename="r.xml"\r\n\r\n<testsuite>'
    json = f"{asked}Content-Type: application/json\r\n"
    return [
        one.encode()
        for one in (
            f"POST /api/import HTTP/1.1\r\n{asked}",
            f"POST /api/import HTTP/1.1\r\n{form}Content-Length: 9000\r\n\r\n{upload}",
            f"POST /api/import HTTP/1.1\r\n{form}Transfer-Encoding: chunked\r\n\r\n{len(upload):x}\r\n{upload}\r\n",
            f'POST /api/run HTTP/1.1\r\n{json}Content-Length: 9000\r\n\r\n{{"project_id',
            f"GET /api/artifact/{artifact_id}/download HTTP/1.1\r\n{asked}\r\n",
        )
    ]


def answer(connection: socket.socket) -> bytes:
    """Return the first line of what the server says once it has given up on the client; it says only a part of all."""
    connection.settimeout(PATIENCE)
    data = b""
    while not data.startswith(CUT_OFF) and (more := connection.recv(100_000)):
        data += more
        assert len(data) < SIZE
    return data.partition(b"\r\n")[0]


@pytest.mark.usefixtures("impatient")
def test_clients_that_stop_in_the_middle_are_given_up_on(gunicorn: tuple[str, int], ann: Any, session: Session) -> None:
    host, _, port = gunicorn[0].partition(":")
    pieces = (bytes(SIZE // 30) for _ in range(30))
    large = artifacts.write(session, pieces, filename="large", run_id=ann.run()["id"])
    session.commit()
    with contextlib.ExitStack() as open_ones:
        requests = halves(ann.token, str(large.id))
        connections = []
        for request in requests:
            connections.append(open_ones.enter_context(socket.create_connection((host, int(port)))))
            connections[-1].sendall(request)
        *others, taker = connections
        assert [answer(connection) for connection in others] == [b"", CUT_OFF, CUT_OFF, CUT_OFF]
        server, port_of_taker = psutil.Process(gunicorn[1]), taker.getsockname()[1]
        deadline = time.monotonic() + PATIENCE
        while any(one.raddr and one.raddr.port == port_of_taker for one in server.net_connections("tcp")):
            assert time.monotonic() < deadline, "The server keeps the connection."
            time.sleep(0.1)
        assert answer(taker) == b"HTTP/1.1 200 OK"
        while session.scalar(BEGUN):
            assert time.monotonic() < deadline, "The server keeps a transaction."
            session.rollback()
            time.sleep(0.1)
        assert session.scalar(sa.select(sa.func.count()).select_from(Import)) == 0
