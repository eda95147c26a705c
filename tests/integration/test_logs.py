"""The logs of real processes: all that they say is one JSON object a line, and none of it a secret."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from celery import Celery
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings, DatabaseSettings
from ibutsu_server.embedded import commands
from ibutsu_server.store import local

TASK = "ibutsu_server.tasks.importers.import_results"

Store = Callable[..., uuid.UUID]
Until = Callable[..., None]


class Running:
    """A process of the specification's command, and its log."""

    def __init__(self, command: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=output, stderr=output
            )

    def says(self, text: str) -> bool:
        """Whether the log holds it."""
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()

    def events(self) -> list[dict[str, Any]]:
        """Return all that it said."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.mark.slow
def test_all_that_the_processes_say_is_json_and_no_secret(
    *,
    environment: dict[str, str],
    database: DatabaseSettings,
    broker_url: str,
    session: Session,
    store_upload: Store,
    tmp_path: Path,
    until: Until,
) -> None:
    access = local.ensure_local_access(database, email="admin@example.com", password="the-admins-password")
    environment |= {"IBUTSU_LOG_FORMAT": "json", "CELERY_WORKER_LOGLEVEL": "debug"}
    worker = Running(commands.worker(), environment, tmp_path / "worker.log")
    scheduler = Running(commands.COMMANDS[commands.Application.SCHEDULER], environment, tmp_path / "scheduler.log")
    flower = Running(commands.flower("127.0.0.1", 0), environment, tmp_path / "flower.log")
    api = Running(commands.backend("127.0.0.1:0"), environment, tmp_path / "api.log")
    running = {"worker": worker, "scheduler": scheduler, "flower": flower, "api": api}
    try:
        until(lambda: worker.says(" ready.") and scheduler.says("beat_schedule") and api.says("Listening at"))
        until(lambda: flower.says("Visit me at"))
        celery: Celery = create_broker_celery_app(
            "tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url)
        )
        good, bad = store_upload(b"<testsuite><testcase name='a'/></testsuite>"), store_upload(b"<nonsense")
        found = celery.send_task(TASK, (str(good),), task_id=str(good)).get(timeout=60)
        for task, args in ((TASK, (str(bad),)), ("ibutsu_server.tasks.nothing", ())):
            with pytest.raises(Exception, match=r"XML|never registered"):
                celery.send_task(task, args, task_id=str(bad)).get(timeout=60)
        (child,) = psutil.Process(worker.process.pid).children()
        child.kill()
        until(lambda: worker.says("exited with"))
        until(lambda: api.says("Booting worker"))
        port = re.search(r"Listening at: http://127.0.0.1:(\d+)", api.log.read_text())
        assert port
        headers = {"Authorization": f"Bearer {access.token}"}
        url = f"http://127.0.0.1:{port[1]}"
        assert httpx.get(f"{url}/api/import/{good}", headers=headers, timeout=60).json()["status"] == "done"
        login = {"email": "admin@example.com", "password": "not-the-password"}
        assert httpx.post(f"{url}/api/login", json=login, timeout=60).status_code == 401
    finally:
        for each in running.values():
            each.process.send_signal(signal.SIGTERM)
        for each in running.values():
            each.process.wait(60)

    secrets = [
        database.password,
        broker_url.rpartition("@")[0].rpartition(":")[2],
        environment["FLOWER_BASIC_AUTH"],
        access.token,
        "the-admins-password",
        "not-the-password",
    ]
    for name, each in running.items():
        text = each.log.read_text()
        assert [secret for secret in secrets if secret in text] == [], name
        events = each.events()
        assert {event["application"] for event in events} == {"backend" if name == "api" else name}
    about = [event for event in worker.events() if event.get("import_id") == str(good)]
    assert {event["task_id"] for event in about} == {str(good)}
    assert about[-1]["run_id"] == found["run_id"]
    assert about[-1]["project"] == "local"
    # Celery's line of its end, and ours.
    assert {event["logger"] for event in about} >= {"celery.app.trace", "ibutsu_server.tasks.importers"}
