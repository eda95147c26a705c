"""The part of a worker that reads the queue."""

from __future__ import annotations

import json
from types import SimpleNamespace

from ibutsu_core.consumer import Reader


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
