"""That a task which gets no more memory ends alone: its worker, and the worker's other tasks, go on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from celery.result import AsyncResult

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings

GREEDY = """
from ibutsu_server import worker_app

@worker_app.task(name="greedy")
def greedy(gigabytes):
    return len(bytes(gigabytes * 10**9))
"""


def test_a_task_without_memory_fails_and_its_worker_goes_on(
    environment: dict[str, str], broker_url: str, tmp_path: Path, until: Callable[..., None]
) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY)
    log = tmp_path / "worker.log"
    path = {"PYTHONPATH": f"{tmp_path}:{environment.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "celery", "--app", "greedy:worker_app", "worker"]
    with log.open("wb") as output:
        worker = subprocess.Popen(command, env=environment | path, stdout=output, stderr=output)
    settings = CelerySettings(broker_url=broker_url, result_backend=broker_url)
    app = create_broker_celery_app("tests", settings=settings)
    try:
        until(lambda: " ready." in log.read_text() or worker.poll() is not None, log)
        much, nothing = (app.send_task("greedy", (gigabytes,), queue="ibutsu") for gigabytes in (10**8, 0))
        assert isinstance(much, AsyncResult)
        assert nothing.get(timeout=60) == 0
        assert type(much.get(propagate=False)).__name__ == "OutOfMemoryError"
        assert worker.poll() is None
    finally:
        app.close()
        worker.terminate()
        worker.wait(60)
