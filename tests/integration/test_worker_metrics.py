"""A worker's metrics: what its children did, and what befell them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.orm import Session

from ibutsu_core.celery_utils import create_broker_celery_app
from ibutsu_core.settings import CelerySettings, DatabaseSettings

TASK = "ibutsu_server.tasks.importers.import_results"

Until = Callable[..., None]


@pytest.mark.slow
def test_a_worker_counts_its_tasks_and_imports_and_the_process_that_it_loses(
    *,
    start_worker: Callable[..., AbstractContextManager[Path]],
    store_upload: Callable[..., uuid.UUID],
    session: Session,
    database: DatabaseSettings,
    broker_url: str,
    until: Until,
) -> None:
    celery: Celery = create_broker_celery_app(
        "tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url)
    )
    good, bad, lost = (
        store_upload(content)
        for content in (
            b"<testsuite><testcase name='a'/><testcase name='b'/></testsuite>",
            b"<nonsense",
            b"<testsuite/>",
        )
    )
    with start_worker(IBUTSU_HEALTH_ADDRESS="127.0.0.1:0") as log:
        port = re.search(r"Health is answered at port (\d+)", log.read_text())
        assert port

        def counted(name: str, **labels: str) -> float | None:
            text = httpx.get(f"http://127.0.0.1:{port[1]}/metrics", timeout=30).text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name == name and labels.items() <= sample.labels.items():
                        return sample.value
            return None

        assert counted("ibutsu_imports_total", format="junit", outcome="done") == 0
        assert counted("ibutsu_tasks_total", task=TASK, outcome="lost") == 0
        celery.send_task(TASK, (str(good),), task_id=str(good)).get(timeout=60)
        with pytest.raises(Exception, match="XML"):
            celery.send_task(TASK, (str(bad),), task_id=str(bad)).get(timeout=60)
        # An import stands still before it takes its row, and its process is killed.
        connection = psycopg2.connect(
            host=database.host, port=database.port, user=database.user, password=database.password,
            dbname=database.database,
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
            celery.send_task(TASK, (str(lost),), task_id=str(lost))
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )

            def stands() -> bool:
                cursor.execute(waits)
                row = cursor.fetchone()
                return bool(row and row[0])

            until(stands, log)
            (worker,) = (
                one for one in psutil.Process().children() if any("worker_app" in part for part in one.cmdline())
            )
            for child in worker.children():
                child.kill()
        connection.close()
        until(lambda: counted("ibutsu_tasks_total", task=TASK, outcome="lost") == 1, log)
        assert counted("ibutsu_imports_total", format="junit", outcome="done") in (1, 2)
        assert counted("ibutsu_imports_total", format="unknown", outcome="error") == 1
        assert counted("ibutsu_imported_results_total", format="junit") == 2
        assert counted("ibutsu_tasks_total", task=TASK, outcome="failure") == 1
        assert counted("ibutsu_task_duration_seconds_count", task=TASK, outcome="failure") == 1
        assert (counted("ibutsu_task_wait_seconds_count", task=TASK) or 0) >= 3
