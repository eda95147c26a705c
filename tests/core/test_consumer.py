"""The part of a worker that reads the queue."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.consumer import Consumer
from celery.worker.consumer.mingle import Mingle

from ibutsu_core.consumer import Reader, SteadyConsumer, ask_neighbours


def test_what_was_sent_on_a_connection_that_was_replaced_is_repaired_once_and_no_json_is_dropped() -> None:
    client = SimpleNamespace(connection=SimpleNamespace(_sock=None))
    replies, repairs = iter(['{"a": 1}', "nonsense", "[]", "[]"]), []
    reader = Reader(SimpleNamespace(client=client), lambda: json.loads(next(replies)), lambda: repairs.append(1))
    first, second = object(), object()
    found = []
    for socket in (first, first, second, second):
        client.connection._sock = socket
        found.append((reader(), len(repairs)))
    assert found == [({"a": 1}, 0), (True, 0), ([], 1), ([], 1)]


@pytest.mark.parametrize("known", [0, 1, 3])
def test_as_many_neighbours_are_asked_as_the_broker_knows_and_nobody_where_it_knows_none(known: int) -> None:
    asked: list[dict[str, object]] = []

    def inspect(**options: object) -> SimpleNamespace:
        asked.append(options)
        return SimpleNamespace(hello=lambda name, revoked: {name: {}, "other": {"revoked": revoked}})

    channel = SimpleNamespace(get_table=lambda exchange: [("", "", f"{n}.{exchange}") for n in range(known)])
    connection = SimpleNamespace(default_channel=channel)
    mailbox = SimpleNamespace(exchange=SimpleNamespace(name="pidbox"))
    consumer = SimpleNamespace(
        app=SimpleNamespace(control=SimpleNamespace(mailbox=mailbox, inspect=inspect)),
        connection=connection,
        controller=SimpleNamespace(state=SimpleNamespace(revoked={"a": 1})),
        hostname="me",
    )
    assert ask_neighbours(consumer) == ({"other": {"revoked": ["a"]}} if known else {})
    assert asked == ([{"timeout": 1.0, "connection": connection, "limit": known}] if known else [])


def test_a_workers_mingle_asks_so(monkeypatch: pytest.MonkeyPatch) -> None:
    mingle = object.__new__(Mingle)

    def make(consumer: Any) -> None:
        consumer.blueprint = SimpleNamespace(order=[object(), mingle])

    monkeypatch.setattr(Consumer, "__init__", make)
    SteadyConsumer()
    assert mingle.send_hello is ask_neighbours
