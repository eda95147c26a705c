"""Real servers for all tests: PostgreSQL and Redis, started once a session, in directories of their own."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psycopg2
import pytest
from psycopg2 import sql

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.embedded import postgres, redis
from ibutsu_server.store import migrate

# Machines are shared and noisy, so no test asserts a time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


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


@pytest.fixture(scope="session")
def template(postgres_server: DatabaseSettings) -> DatabaseSettings:
    """A migrated database, from which the tests' own are copied."""
    settings = _create(postgres_server, "template_ibutsu")
    migrate.upgrade(settings)
    return settings


@pytest.fixture
def database(postgres_server: DatabaseSettings, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A fresh and migrated database for one test."""
    settings = _create(postgres_server, f"test_{secrets.token_hex(6)}", template=template.database)
    yield settings
    _execute(postgres_server, "DROP DATABASE {} WITH (FORCE)", settings.database)


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


@pytest.fixture
def environment(database: DatabaseSettings, broker_url: str) -> dict[str, str]:
    """The environment that the specification's processes need, beside what this process has."""
    return {
        **{key: os.environ[key] for key in ("PATH", "PYTHONPATH", "HOME", "LANG", "TZ", "TMPDIR") if key in os.environ},
        "CELERY_BROKER_URL": broker_url,
        "CELERY_RESULT_BACKEND": broker_url,
        "POSTGRESQL_HOST": database.host,
        "POSTGRESQL_PORT": str(database.port),
        "POSTGRESQL_USER": database.user,
        "POSTGRESQL_PASSWORD": database.password,
        "POSTGRESQL_DATABASE": database.database,
        "FLOWER_BASIC_AUTH": "flower:secret",
    }


def _create(server: DatabaseSettings, name: str, *, template: str = "template0") -> DatabaseSettings:
    _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, template)
    return dataclasses.replace(server, database=name)


def _execute(server: DatabaseSettings, statement: str, *names: str) -> None:
    connection = psycopg2.connect(
        host=server.host, port=server.port, user=server.user, password=server.password, dbname=server.database
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    finally:
        connection.close()
