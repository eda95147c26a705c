"""Passwords cannot be guessed at will, and nothing tells who has an account."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from werkzeug.test import TestResponse

from ibutsu_server.api import attempts

Limited = Callable[..., flask.Flask]
WRONG = "wrong"


def log_in(
    app: flask.Flask, name: str = "ann", password: str = WRONG, *, address: str = "192.0.2.1", **headers: str
) -> TestResponse:
    body = {"email": f"{name}@example.com", "password": password}
    overrides = {"REMOTE_ADDR": address}
    return app.test_client().post("/api/login", json=body, headers=headers, environ_overrides=overrides)


def statuses(app: flask.Flask, count: int, **options: Any) -> list[int]:
    return [log_in(app, **options).status_code for _ in range(count)]


@pytest.mark.parametrize("redis", ["shared", "away"])
def test_an_account_that_is_guessed_at_is_shut_for_a_while_to_all_passwords(
    ann: Any, limited: Limited, redis: str
) -> None:
    app = limited(max_account_failures=3, **({} if redis == "shared" else {"redis_url": "redis://127.0.0.1:1"}))
    assert statuses(app, 4) == [401, 401, 401, 429]
    response = log_in(app, password="ann's password", address="192.0.2.2")
    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 900
    assert "Too many logins failed; try again in " in response.get_json()["detail"]
    assert log_in(app, "Ann", "ann's password").status_code == 429
    assert log_in(app, "bob").status_code == 401


def test_what_one_process_counts_all_know(ann: Any, limited: Limited) -> None:
    first, second = limited(max_account_failures=2), limited(max_account_failures=2)
    assert statuses(first, 2) == [401, 401]
    assert statuses(second, 1) == [429]


def test_a_shut_account_opens_again(ann: Any, limited: Limited) -> None:
    app = limited(max_account_failures=1, window=5)
    assert statuses(app, 2) == [401, 429]
    deadline = time.monotonic() + 60
    while (answer := log_in(app, password="ann's password")).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.status_code == 200


def test_a_login_forgets_the_failures_before_it(ann: Any, limited: Limited) -> None:
    app = limited(max_account_failures=3)
    for _ in range(3):
        assert statuses(app, 2) == [401, 401]
        assert log_in(app, password="ann's password").status_code == 200


def test_an_account_that_does_not_exist_is_shut_alike(ann: Any, limited: Limited) -> None:
    app = limited(max_account_failures=2)
    answers = [[log_in(app, name) for _ in range(3)] for name in ("ann", "nobody")]
    known, unknown = ([(one.status_code, one.get_json().keys()) for one in each] for each in answers)
    assert known == unknown
    assert [one.text for one in answers[0][:2]] == [one.text for one in answers[1][:2]]


def test_a_client_that_guesses_at_many_accounts_is_shut_out_and_others_are_not(ann: Any, limited: Limited) -> None:
    app = limited(max_address_failures=3)
    assert [log_in(app, f"user{number}").status_code for number in range(4)] == [401, 401, 401, 429]
    assert log_in(app, password="ann's password").status_code == 429
    assert log_in(app, password="ann's password", address="192.0.2.2").status_code == 200
    assert log_in(app, "user9", address="").status_code == 401


def test_only_proxies_that_the_operator_counts_tell_the_clients_address(ann: Any, limited: Limited) -> None:
    forged = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(4)]
    ignored = limited(max_address_failures=2)
    assert [log_in(ignored, "u", **headers).status_code for headers in forged[:3]] == [401, 401, 429]
    behind = limited(max_address_failures=2, proxies=1, window=60)
    appended = [{"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.9"} for number in range(4)]
    assert [log_in(behind, "v", **headers).status_code for headers in appended[:3]] == [401, 401, 429]
    assert log_in(behind, "w", **{"X-Forwarded-For": "203.0.113.8"}).status_code == 401


def test_guesses_that_are_made_at_once_count_too(ann: Any, limited: Limited) -> None:
    app = limited(max_account_failures=2)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: log_in(app).status_code, range(8)))
    assert sorted(found) == [401] * 2 + [429] * 6


def test_the_counters_hold_no_address_of_anybody_and_go_by_themselves(
    ann: Any, limited: Limited, broker_url: str
) -> None:
    log_in(limited())
    with Redis.from_url(broker_url) as client:
        keys = [key for key in client.scan_iter() if key.startswith(attempts.PREFIX.encode())]
        assert len(keys) == 2
        for key in keys:
            assert b"@" not in key
            assert 0 < client.ttl(key) <= 900


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_itself_however_it_is_written(address: Any) -> None:
    assert attempts.network(str(address)) == attempts.network(f"::ffff:{address}") == str(address)


@given(st.ip_addresses(v=6, network="2001:db8::/64"), st.ip_addresses(v=6, network="2001:db8::/64"))
def test_all_addresses_that_one_client_has_count_as_one(one: Any, other: Any) -> None:
    assert attempts.network(str(one)) == attempts.network(str(other)) == "2001:db8::/64"
    assert attempts.network("2001:db8:0:1::1") != "2001:db8::/64"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/login", {"password": "x"}),
        ("POST", "/login/register", {"password": "x"}),
        ("POST", "/login/recover", {}),
        ("PUT", "/user", {}),
        ("PUT", "/project/{project}", {}),
        ("POST", "/admin/user", {}),
        ("GET", "/admin/user?filter=email={email}", None),
    ],
)
def test_nothing_tells_a_user_whether_an_account_exists(
    ann: Any, bob: Any, method: str, path: str, body: dict[str, Any] | None
) -> None:
    def answer(email: str) -> tuple[int, str]:
        given = body if body is None else body | ({"users": [email]} if "project" in path else {"email": email})
        response = ann(method, path.format(project=ann.project.id, email=email), json=given)
        return response.status_code, response.text

    assert answer("bob@example.com") == answer("nobody@example.com")
