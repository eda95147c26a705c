"""What a worker hands back when it has no more time."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from ibutsu_core.shutdown import hand_back


def worker(restore: Callable[[], object]) -> Any:
    """Make what is asked of a worker."""
    channel = SimpleNamespace(qos=SimpleNamespace(restore_unacked_once=restore))
    consumer = SimpleNamespace(connection=SimpleNamespace(default_channel=channel))
    return SimpleNamespace(pool="pool", consumer=consumer)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What happens, in its order, to a worker with one task."""
    said: list[object] = []

    def cancel(*arguments: object, **options: object) -> None:
        said.append((*arguments, options))

    request = SimpleNamespace(name="task", id="1", cancel=cancel)
    monkeypatch.setattr(state, "active_requests", [request])
    return said


KILLED = ("pool", signal.SIGKILL, {"emit_retry": False})


def test_children_are_killed_messages_go_back_and_that_is_noted(said: list[object]) -> None:
    hand_back(worker(lambda: said.append("restored")), lambda requests: said.append([one.id for one in requests]))
    assert said == [KILLED, "restored", ["1"]]


def test_what_cannot_go_back_is_noted_too(said: list[object]) -> None:
    def away() -> None:
        raise ConnectionError("Redis is away.")

    with pytest.raises(ConnectionError):
        hand_back(worker(away), lambda requests: said.append([one.id for one in requests]))
    assert said == [KILLED, ["1"]]
