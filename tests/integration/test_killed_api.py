"""The API's processes are killed while clients report: what they were told is stored is counted, and just that."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from fault_processes import runs
from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import local, summary
from ibutsu_server.store.models import Result, Run

CLIENTS = 8
RESULTS = 25
KILLS = 6


@contextlib.contextmanager
def served(environment: dict[str, str], log: Path, until: Callable[..., None]) -> Iterator[tuple[str, psutil.Process]]:
    """Run the API by the container's command with two worker processes; gives its address and its first process."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "gthread",
               "--threads", "4", "--workers", "2", "ibutsu_server:backend_app"]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: len(re.findall("Booting worker", log.read_text())) == 2 or process.poll() is not None, log)
        (url,) = re.findall(r"Listening at: (\S+)", log.read_text())
        yield f"{url}/api", psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
def test_killed_processes_of_the_api_lose_no_result_and_count_none_twice(
    session: Session,
    database: DatabaseSettings,
    environment: dict[str, str],
    tmp_path: Path,
    until: Callable[..., None],
) -> None:
    access = local.ensure_local_access(database, email="admin@example.com", password="secret")
    headers = {"Authorization": f"Bearer {access.token}"}
    with served(environment, tmp_path / "api.log", until) as (url, first):
        run_id = str(uuid.uuid4())

        def ask(client: httpx.Client, method: str, path: str, body: dict[str, Any]) -> None:
            """Ask until there is an answer, as a client that lost its connection does."""
            for _ in range(1000):
                with contextlib.suppress(httpx.TransportError):
                    response = client.request(method, url + path, json=body, headers=headers)
                    assert response.status_code in (200, 201), response.text
                    return
                time.sleep(0.05)
            raise AssertionError("The API never answered.")

        def report(number: int) -> None:
            draw = random.Random(number)
            with httpx.Client(timeout=20) as client:
                for _ in range(RESULTS):
                    result = {"id": str(uuid.UUID(int=draw.getrandbits(128), version=4)), "run_id": run_id,
                              "metadata": {"project": access.project}, "duration": 1}  # fmt: skip
                    ask(client, "POST", "/result", result | {"result": "passed"})
                    word = draw.choice(["passed", "failed", "skipped"])
                    ask(client, "PUT", f"/result/{result['id']}", {"result": word})

        with httpx.Client(timeout=20) as client:
            ask(client, "POST", "/run", {"id": run_id, "metadata": {"project": access.project}})
        threads = [threading.Thread(target=report, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        draw = random.Random(0)
        for _ in range(KILLS):
            time.sleep(draw.uniform(0.3, 0.9))
            children = [child for child in first.children() if runs(child)]
            if children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    draw.choice(children).kill()
        for thread in threads:
            thread.join()
    session.rollback()
    words = list(session.scalars(sa.select(Result.result)))
    assert len(words) == CLIENTS * RESULTS
    counts = session.get_one(Run, uuid.UUID(run_id)).summary
    assert counts is not None
    assert (counts["tests"], counts["failures"], counts["skips"], counts["passes"]) == (
        len(words), words.count("failed"), words.count("skipped"), words.count("passed"),
    )  # fmt: skip
    assert summary.untrue_runs(session, hours=1) == []
