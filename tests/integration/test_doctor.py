"""`ibutsu doctor` on a real system: all is well, and then one fault after the other, each named with its mend."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from redis import Redis

from doctor_system import Servers, System, answers, end, process, send
from ibutsu_core import queues
from ibutsu_core.celery_utils import QUEUE
from ibutsu_core.schedule import beat_entries, latest_due
from ibutsu_core.settings import Application, DatabaseSettings
from ibutsu_server.embedded import commands, ports, redis
from ibutsu_server.store import schema

# All processes are started for these.
pytestmark = pytest.mark.slow

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)

ATTEMPTS = 5
"""At an examination, which gives a worker and a server two seconds; those of a busy machine may need more."""

Until = Callable[..., None]
Findings = dict[str, list[dict[str, Any]]]


def examined(system: System, expected: Callable[[Findings], object], **variables: str) -> Findings:
    """Return what the doctor finds, the last time or as soon as that is expected."""
    for _ in range(ATTEMPTS):
        found: Findings = system.run(**variables)
        if expected(found):
            break
    return found


def execute(database: DatabaseSettings, statement: str, *values: Any) -> None:
    connection = psycopg2.connect(
        host=database.host, port=database.port, user=database.user, password=database.password, dbname=database.database
    )
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.fixture(scope="module")
def servers(redis_server: str, server_directory: Path) -> Iterator[Servers]:
    """The session's Redis, as durable as it should be, and another one."""
    with redis.server(server_directory / "spare", durable=True) as spare, Redis.from_url(redis_server) as client:
        client.flushall()
        client.config_set("appendonly", "yes")
        spare_pid = int((server_directory / "spare/redis.pid").read_text())
        postgres_pid = int((server_directory / "postgres/data/postmaster.pid").read_text().split()[0])
        yield Servers(redis_server, spare, spare_pid, postgres_pid)
        client.config_set("appendonly", "no")


@pytest.fixture(scope="module")
def system(
    databases: Any,
    servers: Servers,
    environment_of: Callable[[DatabaseSettings, str], dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
    until: Until,
) -> Iterator[System]:
    """All processes as in their containers, which takes seconds to start; no test leaves a fault behind."""
    with contextlib.ExitStack() as stack:
        logs = tmp_path_factory.mktemp("logs")
        database, other = databases.take(), databases.take()
        environment = environment_of(database, servers.broker)
        flower, api = ports.free_port(), ports.free_port()
        started = {
            name: stack.enter_context(process(command, environment, logs / name))
            for name, command in (
                ("worker", commands.worker()),
                ("scheduler", commands.COMMANDS[Application.SCHEDULER]),
                ("flower", commands.flower("127.0.0.1", flower)),
                ("api", commands.backend(f"127.0.0.1:{api}")),
            )
        }
        url, flower_url = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{flower}"
        system = System(
            environment=environment | {"IBUTSU_PUBLIC_URL": url, "FLOWER_URL": flower_url},
            database=database,
            other=other,
            servers=servers,
            worker=started["worker"].pid,
            flower=flower_url,
            api=url,
        )
        until(lambda: answers(url + "/api/health") and answers(flower_url + "/healthcheck"))
        until(lambda: " ready." in (logs / "worker").read_text(), logs / "worker")
        # A worker connects to the database with its first task.
        send(environment, "ibutsu_server.tasks.runs.sync_aborted_runs")
        until(lambda: "worker" in system.run()["same-broker"][0]["message"], logs / "worker")
        until(lambda: system.run()["scheduler"][0]["status"] == "ok", logs / "scheduler")
        yield system
        # Together they end sooner than one after the other.
        for one in started.values():
            end(one)
    for one in (database, other):
        databases.put_back(one)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No local system is found."""
    monkeypatch.chdir(tmp_path)


def test_of_a_healthy_system_every_check_is_fine(system: System, until: Until) -> None:
    until(lambda: system.run()["maintenance"][0]["status"] == "ok")

    def unwell(found: Findings) -> list[dict[str, Any]]:
        return [one for findings in found.values() for one in findings if one["status"] != "ok"]

    found = examined(system, lambda found: not unwell(found))
    assert unwell(found) == []
    assert len(found) > 20
    environment = {**os.environ, **system.environment}
    command = [sys.executable, "-W", "error", "-m", "ibutsu_server.cli", "doctor"]
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120)
        if done.returncode == 0:
            break
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(lines) - 1} fine."
    # Without a terminal there are no colours.
    assert all(line.startswith("✓ ") for line in lines[:-1])
    assert not [secret for secret in system.secrets if secret in done.stdout]


@dataclasses.dataclass(frozen=True)
class Fault:
    """The variables that it changes, and the check that must name it by these words, with a mend that has those."""

    check: str
    status: str
    said: str
    mend: str
    variables: Callable[[System], dict[str, str]] = lambda _: {}


def broker(url: Callable[[System], str]) -> Callable[[System], dict[str, str]]:
    return lambda system: {"CELERY_BROKER_URL": url(system), "CELERY_RESULT_BACKEND": url(system)}


def at(url: str, **parts: str) -> str:
    found = urlsplit(url)
    values = {"password": str(found.password), "host": str(found.hostname), "port": str(found.port)} | parts
    return "redis://:{password}@{host}:{port}/0".format(**values)


def spare(system: System) -> str:
    return system.spare


ELSEWHERE = {
    "wrong broker password": Fault(
        "broker", "failure", "refuses the password", "export CELERY_BROKER_URL",
        broker(lambda system: at(system.spare, password="not-the-password"))),
    "wrong result backend password": Fault(
        "result-backend", "failure", "refuses the password", "export CELERY_RESULT_BACKEND",
        lambda system: {"CELERY_RESULT_BACKEND": at(system.spare, password="not-the-password")}),
    "broker away": Fault(
        "broker", "failure", "connection is refused", "ibutsu up",
        broker(lambda system: at(system.spare, port=str(ports.free_port())))),
    "broker unknown": Fault(
        "broker", "failure", "cannot be found", "getent hosts nowhere.invalid",
        broker(lambda system: at(system.spare, host="nowhere.invalid"))),
    "wrong database password": Fault(
        "database", "failure", "refuses the user or the password", "psql --host=127.0.0.1",
        lambda _: {"POSTGRESQL_PASSWORD": "not-the-password"}),
    "no such database": Fault(
        "database", "failure", "no database of the name", "createdb",
        lambda _: {"POSTGRESQL_DATABASE": "nothing"}),
    "database away": Fault(
        "database", "failure", "connection is refused", "ibutsu up",
        lambda _: {"POSTGRESQL_PORT": str(ports.free_port())}),
    "database unknown": Fault(
        "database", "failure", "cannot be found", "getent hosts nowhere.invalid",
        lambda _: {"POSTGRESQL_HOST": "nowhere.invalid"}),
    "no schema": Fault(
        "schema", "failure", "has no schema", "ibutsu db upgrade",
        lambda _: {"POSTGRESQL_DATABASE": "postgres"}),
    "missing variable": Fault(
        "environment", "failure", "POSTGRESQL_HOST is not set", "export POSTGRESQL_HOST=",
        lambda _: {"POSTGRESQL_HOST": ""}),
    "malformed variable": Fault(
        "environment", "failure", "POSTGRESQL_PORT='tcp' is not", "export POSTGRESQL_PORT=",
        lambda _: {"POSTGRESQL_PORT": "tcp"}),
    "mistyped variable": Fault(
        "environment", "warning", "IBUTSU_IMPORT_ATEMPTS is set, but nothing reads it", "unset IBUTSU_IMPORT_ATEMPTS",
        lambda _: {"IBUTSU_IMPORT_ATEMPTS": "5"}),
    "no worker": Fault("workers", "failure", "No worker answers", "ibutsu_server:worker_app", broker(spare)),
    "another broker": Fault("same-broker", "failure", "worker at 127.0.0.1", "ps -ef", broker(spare)),
    "another result backend": Fault(
        "same-places", "warning", "CELERY_RESULT_BACKEND names another place for celery@", "ps -ef",
        lambda system: {"CELERY_RESULT_BACKEND": system.spare}),
    "no scheduler": Fault(
        "scheduler", "failure", "No scheduler is active", "celery --app ibutsu_server:scheduler_app",
        lambda system: {"POSTGRESQL_DATABASE": system.other.database}),
    "empty ledger": Fault(
        "maintenance", "failure", "sync-aborted-runs (every 30 minutes) is not in the ledger", "scheduler_app",
        lambda system: {"POSTGRESQL_DATABASE": system.other.database}),
    "Flower away": Fault(
        "flower", "failure", "connection is refused", "celery --app ibutsu_server:flower_app",
        lambda _: {"FLOWER_URL": f"http://127.0.0.1:{ports.free_port()}"}),
    "not Flower": Fault(
        "flower", "failure", "answers its health check with 404", "flower_app",
        lambda system: {"FLOWER_URL": system.api}),
    "API away": Fault(
        "api", "failure", "connection is refused", "ibutsu up",
        lambda _: {"IBUTSU_PUBLIC_URL": f"http://127.0.0.1:{ports.free_port()}"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_the_environment_says_wrong_is_named_with_its_mend(system: System, fault: Fault) -> None:
    named(system, fault, **fault.variables(system))


def named(system: System, fault: Fault, **variables: str) -> None:
    def said(findings: Findings) -> list[dict[str, Any]]:
        return [one for one in findings[fault.check] if fault.said in one["message"]]

    findings = examined(system, said, **variables)
    found = said(findings)
    assert found, findings[fault.check]
    assert found[0]["status"] == fault.status
    assert found[0]["cause"]
    assert fault.mend in found[0]["mend"]


def set_redis(name: str, value: str) -> Callable[[Redis], object]:
    return lambda client: client.config_set(name, value)


def fill(client: Redis) -> None:
    # So much that buffers, which come and go, are a small part of it.
    for number in range(50):
        client.set(f"filling-{number}", "x" * 1_000_000)
    client.config_set("maxmemory", client.info("memory")["used_memory"] * 100 // 94)


def overfill(client: Redis) -> None:
    # Not by what is used: the server may still be freeing what another test left.
    client.config_set("maxmemory", 1)


def keep_a_result(client: Redis) -> None:
    client.set(f"celery-task-meta-{uuid.uuid4()}", "{}")


def keep_waiting(client: Redis) -> None:
    client.lpush(QUEUE, json.dumps({"headers": {"id": "x", queues.QUEUED: (NOW - 3 * HOUR).isoformat()}}))


ON_REDIS = {
    "eviction": (set_redis("maxmemory-policy", "allkeys-lru"), Fault(
        "redis-eviction", "failure", "is allkeys-lru, not noeviction", "CONFIG SET maxmemory-policy noeviction")),
    "no append-only file": (set_redis("appendonly", "no"), Fault(
        "redis-persistence", "warning", "no", "CONFIG SET appendonly yes")),
    "nearly full": (fill, Fault("redis-memory", "failure", "(9", "CELERY_RESULT_EXPIRES")),
    "full": (overfill, Fault("broker", "failure", "its memory is full", "CELERY_RESULT_EXPIRES")),
    "replica": (lambda client: client.replicaof("127.0.0.1", 1), Fault(
        "broker", "failure", "it is a replica", "INFO replication")),
    "lasting results": (keep_a_result, Fault(
        "result-expiry", "warning", "1 of 1 results of tasks never expire", "INFO keyspace")),
    "old waiting task": (keep_waiting, Fault(
        "queue", "failure", "1 tasks wait on the queue, 0 are in workers' hands; the oldest has waited for 3 h",
        "celery --app ibutsu_server:worker_app worker")),
}  # fmt: skip


@pytest.mark.parametrize(("make", "fault"), ON_REDIS.values(), ids=ON_REDIS)
def test_what_is_wrong_with_redis_is_named_with_its_mend(
    system: System, make: Callable[[Redis], object], fault: Fault
) -> None:
    with Redis.from_url(system.spare) as client:
        kept = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "maxmemory")}
        try:
            make(client)
            named(system, fault, **broker(spare)(system))
        finally:
            client.replicaof("NO", "ONE")
            for name, value in kept.items():
                client.config_set(name, value)
            client.flushall()


def insert_import(**values: Any) -> Callable[[DatabaseSettings], None]:
    row = {
        "id": str(uuid.uuid4()),
        "filename": "broken\x1b[2J.xml",
        "format": "junit",
        "size": 1,
        "sha256": "",
    } | values
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    return lambda database: execute(database, f"INSERT INTO imports ({names}) VALUES ({marks})", *row.values())


def insert_slots(**changes: Any) -> Callable[[DatabaseSettings], None]:
    """Note each entry's newest slot as done, but for that of `sync-aborted-runs`, of which the row says otherwise."""

    def insert(database: DatabaseSettings) -> None:
        for entry in beat_entries():
            # Not of when the tests were collected: a slot is overdue a quarter of an hour after the next one.
            slot = latest_due(entry.schedule, dt.datetime.now(dt.UTC))
            row = {"id": str(uuid.uuid4()), "entry": entry.name, "task": entry.task, "task_id": "x", "slot": slot,
                   "started": slot, "finished": slot, "attempts": 1, "worker": "celery@w"}  # fmt: skip
            row |= changes if entry.name == "sync-aborted-runs" else {}
            names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
            execute(database, f"INSERT INTO maintenance ({names}) VALUES ({marks})", *row.values())

    return insert


IN_THE_DATABASE = {
    "failed import": (insert_import(status="error", finished=NOW), Fault(
        "failed-imports", "warning", "1 imports failed within a day", "ibutsu imports list --status error")),
    "old waiting import": (insert_import(status="pending", created=NOW - 3 * HOUR), Fault(
        "waiting-imports", "failure", "1 imports wait for a worker, the oldest for 3 h", "ibutsu up --workers 2")),
    "failed slot": (insert_slots(error="The disk is full."), Fault(
        "maintenance", "failure", "sync-aborted-runs failed in its newest slot",
        "ibutsu maintenance --entry sync-aborted-runs")),
    "retried slot": (insert_slots(error="The database was away.", finished=None, worker=None), Fault(
        "maintenance", "warning", "is tried again", "ibutsu maintenance --entry sync-aborted-runs")),
    "overdue slot": (insert_slots(slot=latest_due(beat_entries()[-1].schedule, NOW - 2 * HOUR)), Fault(
        "maintenance", "failure", "sync-aborted-runs is overdue", "scheduler_app")),
    "older schema": (lambda database: execute(database, "UPDATE alembic_version SET version_num = '0001'"), Fault(
        "schema", "failure", f"is at 0001; this version needs {schema.expected()}", "ibutsu db upgrade")),
    "newer schema": (lambda database: execute(database, "UPDATE alembic_version SET version_num = '9999'"), Fault(
        "schema", "warning", f"is at 9999; this version knows {schema.expected()}", "make up")),
    "no partition": (lambda database: execute(database, f"DROP TABLE artifact_chunks_{NOW:%Y_%m}"), Fault(
        "artifact-partitions", "warning", f"no partition for artifacts of {NOW:%Y-%m}", "ibutsu db upgrade")),
}  # fmt: skip


@pytest.mark.parametrize(("make", "fault"), IN_THE_DATABASE.values(), ids=IN_THE_DATABASE)
def test_what_is_wrong_in_the_database_is_named_with_its_mend(
    system: System, databases: Any, make: Callable[[DatabaseSettings], None], fault: Fault
) -> None:
    database = databases.take()
    make(database)
    named(system, fault, POSTGRESQL_DATABASE=database.database)
    databases.put_back(database)


ROLES = {
    "no connection": ("CONNECTION LIMIT 0", Fault(
        "database", "failure", "has no connection left", "pg_stat_activity")),
    "no rights": ("", Fault("database", "failure", "forbids the user to read the tables", "psql --host=")),
    "read-only": ("IN ROLE pg_read_all_data", Fault(
        "database", "failure", "takes no writes", "export POSTGRESQL_HOST=")),
}  # fmt: skip


@pytest.mark.parametrize(("options", "fault"), ROLES.values(), ids=ROLES)
def test_what_postgresql_keeps_from_a_user_is_named_with_its_mend(system: System, options: str, fault: Fault) -> None:
    execute(system.database, f"CREATE ROLE limited LOGIN PASSWORD 'not-the-password' {options}")
    execute(system.database, "ALTER ROLE limited SET default_transaction_read_only = on")
    try:
        named(system, fault, POSTGRESQL_USER="limited", POSTGRESQL_PASSWORD="not-the-password")
    finally:
        execute(system.database, "DROP ROLE limited")


@contextlib.contextmanager
def paused(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_broker_and_a_database_that_hang_do_not_hang_the_doctor(system: System) -> None:
    with paused(system.servers.postgres_pid, system.servers.spare_pid):
        found = system.run(**broker(spare)(system))
    assert [found[check][0]["message"].partition(" does ")[2] for check in ("broker", "database")] == [
        "not answer within 2 s."
    ] * 2
    assert found["workers"][0]["status"] == found["schema"][0]["status"] == "skipped"


def test_a_worker_that_hangs_is_named(system: System) -> None:
    with paused(system.worker):
        found = system.run()["workers"][0]
    assert (found["status"], found["message"]) == ("failure", "No worker answers.")
    assert "connected to PostgreSQL" in found["cause"]


def test_a_second_scheduler_is_named(system: System, tmp_path: Path, until: Until) -> None:
    with process(commands.COMMANDS[Application.SCHEDULER], system.environment, tmp_path / "log"):
        until(lambda: system.run()["scheduler"][0]["status"] == "warning", tmp_path / "log")
        found = system.run()["scheduler"][0]
    assert found["message"].startswith("2 schedulers are active")
    until(lambda: system.run()["scheduler"][0]["status"] == "ok")


def test_an_open_flower_is_named(system: System, tmp_path: Path, until: Until) -> None:
    port = ports.free_port()
    url = f"http://127.0.0.1:{port}"
    bare = {name: text for name, text in system.environment.items() if not name.startswith("FLOWER")}
    with process(("celery", f"--broker={system.spare}", "flower", f"--port={port}"), bare, tmp_path / "log"):
        until(lambda: answers(f"{url}/healthcheck"), tmp_path / "log")
        found = system.run("--flower-url", url)["flower"][0]
    assert (found["status"], "lets in anybody" in found["message"]) == ("failure", True)
    assert "FLOWER_BASIC_AUTH" in found["mend"]


def test_in_flowers_environment_what_needs_a_database_is_skipped(system: System) -> None:
    lacking = {name: "" for name in system.environment if name.startswith("POSTGRESQL_")}
    found = examined(system, lambda found: found["workers"][0]["status"] == "ok", **lacking)
    assert found["environment"][0]["status"] == found["workers"][0]["status"] == "ok"
    assert found["database"][0]["status"] == "skipped"
    assert "Flower's environment" in found["database"][0]["message"]


def test_in_kubernetes_the_mends_are_kubectls(system: System) -> None:
    found = system.run(KUBERNETES_SERVICE_HOST="10.0.0.1", **broker(spare)(system))
    assert found["workers"][0]["mend"] == "kubectl rollout restart deployment/ibutsu-worker"
