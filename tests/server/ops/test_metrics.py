"""What is counted and read, by one process and by several."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg2
import pytest
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from ibutsu_core.celery_utils import QUEUE, create_broker_celery_app
from ibutsu_core.settings import Application, CelerySettings, DatabaseSettings
from ibutsu_server.ops import measures, metrics, reading
from ibutsu_server.ops.measures import MEASURES, Measure
from ibutsu_server.store import schema

# Three children count, one after the other and side by side, and are gone when the fourth process asks.
PROGRAM = """
import os, sys
from ibutsu_server.ops import multiprocess

multiprocess.prepare()
from ibutsu_core.settings import Application
from ibutsu_server.ops import metrics

rows, seconds = metrics.counter("ibutsu_pruned_rows_total"), metrics.histogram("ibutsu_task_wait_seconds")

def child():
    pid = os.fork()
    if pid == 0:
        rows.labels("runs").inc(5)
        seconds.labels("a").observe(0.3)
        os._exit(0)
    os.waitpid(pid, 0)

rows.labels("runs").inc()
child()
child()
metrics.text(Application.WORKER)
child()
sys.stdout.write(metrics.text(Application.WORKER).body.decode())
print("#", *sorted(path.name for path in multiprocess.directory().iterdir()))
print("#", multiprocess.directory(), flush=True)
if len(sys.argv) > 1:
    os.kill(os.getpid(), 9)
"""


def run(directory: Path, *arguments: str) -> tuple[str, Path]:
    """Run the program with its temporary files in `directory`; return what it wrote, and where it counted."""
    environment = {**os.environ, "TMPDIR": str(directory)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, Path(done.stdout.rsplit("# ", 1)[1].strip())


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples of a text in Prometheus's format, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_children_counted_adds_up_and_stays_when_they_are_gone(tmp_path: Path) -> None:
    text, directory = run(tmp_path)
    found = samples(text)
    assert found["ibutsu_pruned_rows_total", frozenset({("table", "runs")})] == 16
    labels = frozenset({("task", "a")})
    assert found["ibutsu_task_wait_seconds_count", labels] == 3
    assert found["ibutsu_task_wait_seconds_bucket", labels | {("le", "0.25")}] == 0
    assert found["ibutsu_task_wait_seconds_bucket", labels | {("le", "0.5")}] == 3
    # The dead ones have one file together.
    assert re.search(r"^# alive.lock collecting.lock counter_\d+.db counter_dead.db histogram_dead.db$", text, re.M)
    assert not directory.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    _, left = run(tmp_path, "killed")
    assert left.exists()
    _, other = run(tmp_path)
    assert left != other
    assert list(tmp_path.iterdir()) == []


def test_without_a_directory_a_process_counts_for_itself() -> None:
    program = PROGRAM[: PROGRAM.index("print(")].replace("multiprocess.prepare()", "")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert samples(done.stdout)["ibutsu_pruned_rows_total", frozenset({("table", "runs")})] == 1


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_names_follow_the_conventions(measure: Measure) -> None:
    assert re.fullmatch(r"ibutsu_[a-z]+(_[a-z]+)*", measure.name)
    assert measure.name.endswith("_total") == (measure.kind == "counter")
    assert bool(measure.buckets) == (measure.kind == "histogram")
    assert measure.kind != "histogram" or measure.name.endswith("_seconds")
    assert len({one.name for one in MEASURES}) == len(MEASURES)


def gauges(*collectors: reading.Broker | reading.Database) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return samples(metrics.text(Application.SCHEDULER, *collectors).body.decode())


@pytest.fixture
def celery(broker_url: str) -> Celery:
    """What tasks are sent with; no worker takes them."""
    return create_broker_celery_app("tests", settings=CelerySettings(broker_url=broker_url, result_backend=broker_url))


def test_the_queue_is_measured_by_its_length_and_its_oldest_message(broker_url: str, celery: Celery) -> None:
    queue = frozenset({("queue", QUEUE)})
    found = gauges(reading.Broker(broker_url, QUEUE))
    assert (found["ibutsu_queue_length", queue], found["ibutsu_queue_oldest_age_seconds", queue]) == (0, 0)
    before = dt.datetime.now(dt.UTC)
    for priority in (0, 9, 0):
        celery.send_task("ibutsu_server.tasks.any", priority=priority)
    found = gauges(reading.Broker(broker_url, QUEUE))
    age = (dt.datetime.now(dt.UTC) - before).total_seconds()
    assert found["ibutsu_queue_length", queue] == 3
    assert 0 < found["ibutsu_queue_oldest_age_seconds", queue] <= age
    assert found["ibutsu_queue_unacknowledged", frozenset()] == 0
    assert found["ibutsu_broker_memory_bytes", frozenset()] > 100_000
    assert found["ibutsu_broker_keys", frozenset()] >= 2


def test_the_oldest_message_is_that_of_any_priority(broker_url: str, celery: Celery) -> None:
    celery.send_task("ibutsu_server.tasks.any", priority=9)
    first = dt.datetime.now(dt.UTC)
    for _ in range(3):
        celery.send_task("ibutsu_server.tasks.any")
    age = (dt.datetime.now(dt.UTC) - first).total_seconds()
    assert (
        gauges(reading.Broker(broker_url, QUEUE))["ibutsu_queue_oldest_age_seconds", frozenset({("queue", QUEUE)})]
        > age
    )


def test_the_database_is_measured(database: DatabaseSettings) -> None:
    connection = psycopg2.connect(
        host=database.host, port=database.port, user=database.user, password=database.password, dbname=database.database
    )
    done = dt.datetime(2026, 11, 25, 18, 0, 7, tzinfo=dt.UTC)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO maintenance (id, entry, slot, task, started, finished, error) VALUES "
            "(%s, 'sync-aborted-runs', %s, 't', %s, %s, NULL), (%s, 'prune-old-runs', %s, 't', %s, %s, 'no')",
            (str(uuid.uuid4()), done, done, done, str(uuid.uuid4()), done, done, done),
        )
    connection.close()
    found = gauges(reading.Database(database))
    assert found["ibutsu_database_up", frozenset()] == 1
    assert found["ibutsu_schema_version", frozenset()] == int(schema.expected())
    assert found["ibutsu_imports_unfinished", frozenset({("status", "running")})] == 0
    success = {labels: value for (name, labels), value in found.items() if "last_success" in name}
    assert success == {frozenset({("entry", "sync-aborted-runs")}): done.timestamp()}
    assert found["ibutsu_periodic_interval_seconds", frozenset({("entry", "sync-aborted-runs")})] == 1800
    assert found["ibutsu_periodic_interval_seconds", frozenset({("entry", "prune-old-runs")})] == 7 * 86400


def test_servers_that_are_away_are_said_to_be_down_and_nothing_stale_is_shown() -> None:
    away = DatabaseSettings(host="127.0.0.1", port=1, user="u", password="p", database="d")
    found = gauges(reading.Broker("redis://127.0.0.1:1/0", QUEUE), reading.Database(away))
    names = {name for name, _ in found} - {"ibutsu_build_info"}
    assert names == {"ibutsu_broker_up", "ibutsu_database_up", "ibutsu_schema_expected_version"}
    assert found["ibutsu_broker_up", frozenset()] == found["ibutsu_database_up", frozenset()] == 0


def test_all_that_the_scheduler_shows_is_read(database: DatabaseSettings, broker_url: str) -> None:
    found = gauges(reading.Broker(broker_url, QUEUE), reading.Database(database))
    expected = {measure.name for measure in measures.of(Application.SCHEDULER)}
    assert expected - {name for name, _ in found} == {"ibutsu_periodic_last_success_timestamp_seconds"}
