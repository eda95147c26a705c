"""What the probes answer, and that neither a server that is away nor a client holds them up."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from ibutsu_core.heart import Heart
from ibutsu_server.ops import health
from ibutsu_server.ops.health import Answer, Check
from ibutsu_server.ops.server import MOST, HealthServer


def body(answer: Answer) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer.body)
    return found


ANSWERS = Check("Redis", lambda: None)


def test_a_loop_that_turns_is_alive_and_one_that_hangs_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    heart = Heart()
    assert health.alive(heart, ANSWERS).status == 200
    monkeypatch.setattr(health, "HANG", -1.0)
    answer = health.alive(heart, ANSWERS)
    assert answer.status == 503
    message = str(body(answer)["message"])
    # The test runs in the main thread, which is where a main loop is.
    assert re.search(r"has not turned for \d+ s: it is in", message)
    assert "heart.py" in message


def test_a_loop_that_waits_for_a_broker_that_is_away_is_alive_and_has_its_time_again_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heart = Heart()
    monkeypatch.setattr(health, "QUIET", -1.0)
    monkeypatch.setattr(health, "HANG", -1.0)
    away = Check("Redis", lambda: "Redis is away.")
    assert away.problem() == "Redis is away."
    before = heart.silence
    answer = health.alive(heart, away)
    assert (answer.status, body(answer)["message"]) == (200, "The main loop waits for the broker. Redis is away.")
    assert heart.silence < before
    assert health.alive(heart, ANSWERS).status == 503


def test_liveness_never_waits_for_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(health, "QUIET", -1.0)
    silent = Check("Redis", lambda: "away" if go.wait(30) else None)
    assert health.alive(Heart(), silent).status == 200
    assert not go.is_set()
    go.set()


def test_a_process_that_ends_is_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    heart = Heart()
    heart.ends = True
    monkeypatch.setattr(health, "HANG", -1.0)
    assert health.alive(heart, ANSWERS).status == 200
    assert body(health.ready({}, heart)) == {
        "ready": False,
        "message": "It ends, and begins nothing new.",
        "checks": {"main_loop": "It ends, and begins nothing new."},
    }


def test_readiness_says_in_a_sentence_what_is_wrong() -> None:
    heart = Heart()
    checks = {"broker": Check("Redis", lambda: "Redis is away."), "database": Check("PostgreSQL", lambda: None)}
    assert body(health.ready(checks, heart))["message"] == "Redis is away."
    heart.works = True
    answer = health.ready(checks, heart)
    assert (answer.status, body(answer)["checks"]) == (
        503,
        {"main_loop": "ok", "broker": "Redis is away.", "database": "ok"},
    )
    answer = health.ready(checks, heart, optional=frozenset({"broker"}))
    assert (answer.status, body(answer)["message"]) == (200, "Ready. But: Redis is away.")


def test_an_answer_counts_for_a_while_and_a_server_that_is_away_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    go = threading.Event()

    def ask() -> str | None:
        asked.append(1)
        go.wait(30)
        return None

    monkeypatch.setattr(health, "PATIENCE", 0.05)
    check = Check("PostgreSQL", ask)
    for _ in range(3):
        assert re.fullmatch(r"PostgreSQL has not answered for \d+ s\.", str(check.problem()))
    go.set()
    monkeypatch.setattr(health, "PATIENCE", 30.0)
    monkeypatch.setattr(health, "KEPT", 3600.0)
    assert [check.problem() for _ in range(3)] == [None] * 3
    assert len(asked) == 1
    monkeypatch.setattr(health, "KEPT", -1.0)
    assert check.problem() is None
    assert len(asked) == 2


def test_a_check_that_fails_by_itself_is_a_problem() -> None:
    def ask() -> str | None:
        raise RuntimeError("secret")

    assert Check("Redis", ask).problem() == "Redis could not be asked (RuntimeError)."


@pytest.fixture
def server() -> Iterator[HealthServer]:
    """A health server with one route."""
    server = HealthServer(("127.0.0.1", 0), {"/healthz": lambda: Answer(200, b"fine\n", "text/plain")})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_server_answers_its_routes_and_names_them_where_there_is_none(server: HealthServer) -> None:
    base = f"http://127.0.0.1:{server.server_port}"
    assert httpx.get(f"{base}/healthz?verbose", timeout=30).text == "fine\n"
    assert httpx.head(f"{base}/healthz", timeout=30).status_code == 200
    missing = httpx.get(f"{base}/", timeout=30)
    assert (missing.status_code, missing.text) == (404, "/healthz\n")
    assert httpx.post(f"{base}/healthz", timeout=30).status_code == 501


def test_clients_that_hold_their_connections_keep_no_probe_out(server: HealthServer) -> None:
    held = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(4 * MOST)]
    try:
        assert httpx.get(f"http://127.0.0.1:{server.server_port}/healthz", timeout=30).text == "fine\n"
        assert threading.active_count() < 4 * MOST
    finally:
        for connection in held:
            connection.close()


def test_an_empty_host_is_every_interface() -> None:
    with HealthServer(("", 0), {}) as server:
        socket.create_connection(("127.0.0.1", server.server_port)).close()
        if server.address_family == socket.AF_INET6:
            socket.create_connection(("::1", server.server_port)).close()
