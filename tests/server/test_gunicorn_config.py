"""What gunicorn is told beside its command."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from ibutsu_server import gunicorn_config
from ibutsu_server.ops import multiprocess


@pytest.mark.parametrize("graceful", [True, False])
def test_gunicorn_ends_in_order_where_several_workers_cannot_start(
    graceful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it stops the others because of one, it meets those that could not start either."""
    asked: list[bool] = []
    met: Iterator[bool] = iter((True, True, False))

    def stop(graceful: bool) -> None:
        asked.append(graceful)
        if next(met):
            raise HaltServer("Worker failed to boot.", Arbiter.WORKER_BOOT_ERROR)

    monkeypatch.setattr(multiprocess, "prepare", lambda: None)
    server = SimpleNamespace(stop=stop)
    gunicorn_config.on_starting(server)
    server.stop(graceful)
    assert asked == [graceful] * 3
