"""Real servers for all tests: PostgreSQL and Redis, started once a session; each worker of pytest-xdist has its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import argon2
import hypothesis
import psycopg2
import pytest
from psycopg2 import sql

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.embedded import postgres, redis
from ibutsu_server.store import accounts, migrate

# Machines are shared and noisy, so no test asserts a time.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# A pytest that a test starts is no worker of pytest-xdist.
for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
    del os.environ[name]

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A good hash takes 0.1 s and 64 MB, and most tests of the API make users.
accounts._hasher = argon2.PasswordHasher.from_parameters(argon2.profiles.CHEAPEST)

# What all copies of a database have in common until one gets another schema.
SCHEMA = """
    SELECT (SELECT (count(*), max(oid::bigint))::text FROM pg_class),
        (SELECT (count(*), max(oid::bigint))::text FROM pg_constraint),
        (SELECT (count(*), max(oid::bigint))::text FROM pg_trigger),
        (SELECT count(*)::text FROM pg_attribute WHERE NOT attisdropped)
"""

TABLES = """
    SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""

DISCONNECT = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

LARGEST_KEPT = 16 << 20
"""Bytes; a migrated and empty database has 8 MB."""

# What one worker of pytest-xdist runs all tests of, since they share what is slow to start.
TOGETHER = re.compile(r"tests/(e2e|manifests)/|tests/(integration|server/client)/\w+\.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute other tests one by one. `--dist loadgroup` does nothing with pytest 9.2 (pytest-xdist#1386)."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            together = TOGETHER.match(nodeid)
            return together[0] if together else nodeid

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """A directory that other users may pass, as PostgreSQL's own user must when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="ibutsu-tests-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(server_directory: Path) -> Iterator[DatabaseSettings]:
    """A PostgreSQL server for the session, as its superuser, who may make databases."""
    directory = server_directory / "postgres"
    with postgres.server(directory, durable=False) as settings:
        password = json.loads((directory / "server.json").read_text())["superuser_password"]
        yield dataclasses.replace(settings, user="postgres", password=password, database="postgres")


class Databases:
    """Copies of a migrated database, one for each test. To empty the last test's takes a tenth of a new copy's time."""

    def __init__(self, server: DatabaseSettings, template: DatabaseSettings) -> None:
        self._server = server
        self._template = template.database
        self._spare: list[str] = []
        with _cursor(template) as cursor:
            tables = [name for (name,) in _rows(cursor, TABLES)]
            # Migrations put rows into some, which are to stay.
            filled = [name for name in tables if _rows(cursor, f"SELECT FROM {name} LIMIT 1")]
            self._migrated = SCHEMA + "".join(f", (SELECT array_agg(t::text ORDER BY t) FROM {t} t)" for t in filled)
            self._expected = _rows(cursor, self._migrated)
        deletions = [f"DELETE FROM {name}" for name in tables if name not in filled]
        self._delete = "; ".join(["SET session_replication_role = replica", *deletions])

    def take(self) -> DatabaseSettings:
        """Give an empty one, with a name that no other has had."""
        name = f"test_{secrets.token_hex(6)}"
        if self._spare:
            _execute(self._server, "ALTER DATABASE {} RENAME TO {}", self._spare.pop(), name)
        else:
            _execute(self._server, "CREATE DATABASE {} TEMPLATE {}", name, self._template)
        return dataclasses.replace(self._server, database=name)

    def empty(self, database: DatabaseSettings) -> None:
        """Delete all rows, under the eyes of whoever is connected."""
        with _cursor(database) as cursor:
            cursor.execute(self._delete)

    def put_back(self, database: DatabaseSettings) -> None:
        """Empty it for another test, or drop it where that test would find another schema or many dead rows."""
        with _cursor(database) as cursor:
            cursor.execute(DISCONNECT)
            ((size,),) = _rows(cursor, "SELECT pg_database_size(current_database())")
            if kept := size <= LARGEST_KEPT and _rows(cursor, self._migrated) == self._expected:
                cursor.execute(self._delete)
        if kept:
            self._spare.append(database.database)
        else:
            _execute(self._server, "DROP DATABASE {} WITH (FORCE)", database.database)


@contextlib.contextmanager
def _cursor(database: DatabaseSettings) -> Iterator[Any]:
    connection = psycopg2.connect(
        host=database.host, port=database.port, user=database.user, password=database.password, dbname=database.database
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _execute(server: DatabaseSettings, statement: str, *names: str) -> None:
    with _cursor(server) as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _rows(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    return list(cursor.fetchall())


@pytest.fixture(scope="session")
def execute() -> Callable[..., None]:
    """Runs a statement by itself in a database: the settings, the statement, and the names for its `{}`."""
    return _execute


@pytest.fixture(scope="session")
def template(postgres_server: DatabaseSettings) -> DatabaseSettings:
    """A migrated database, from which the tests' own are copied."""
    settings = dataclasses.replace(postgres_server, database="template_ibutsu")
    _execute(postgres_server, "CREATE DATABASE {} TEMPLATE template0", settings.database)
    migrate.upgrade(settings)
    return settings


@pytest.fixture(scope="session")
def databases(postgres_server: DatabaseSettings, template: DatabaseSettings) -> Databases:
    """Where the tests' databases come from."""
    return Databases(postgres_server, template)


@pytest.fixture
def database(databases: Databases) -> Iterator[DatabaseSettings]:
    """An empty and migrated database for one test."""
    settings = databases.take()
    yield settings
    databases.put_back(settings)


@pytest.fixture(scope="session")
def redis_server(server_directory: Path) -> Iterator[str]:
    """A Redis server for the session; its URL."""
    with redis.server(server_directory / "redis", durable=False) as url:
        yield url


@pytest.fixture
def broker_url(redis_server: str) -> Iterator[str]:
    """An empty Redis for one test; its URL."""
    from redis import Redis

    client = Redis.from_url(redis_server)
    client.flushall()
    yield redis_server
    client.close()


@pytest.fixture(scope="session")
def environment_of() -> Callable[[DatabaseSettings, str], dict[str, str]]:
    """The environment that the specification's processes need, beside what this process has."""

    def make(database: DatabaseSettings, broker_url: str) -> dict[str, str]:
        kept = ("PATH", "PYTHONPATH", "HOME", "LANG", "TZ", "TMPDIR")
        return {
            **{key: os.environ[key] for key in kept if key in os.environ},
            "CELERY_BROKER_URL": broker_url,
            "CELERY_RESULT_BACKEND": broker_url,
            "POSTGRESQL_HOST": database.host,
            "POSTGRESQL_PORT": str(database.port),
            "POSTGRESQL_USER": database.user,
            "POSTGRESQL_PASSWORD": database.password,
            "POSTGRESQL_DATABASE": database.database,
            "FLOWER_BASIC_AUTH": "flower:secret",
        }

    return make


@pytest.fixture
def environment(
    database: DatabaseSettings, broker_url: str, environment_of: Callable[[DatabaseSettings, str], dict[str, str]]
) -> dict[str, str]:
    """The environment of processes on the test's own database and broker."""
    return environment_of(database, broker_url)
