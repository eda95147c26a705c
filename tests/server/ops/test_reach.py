"""What is wrong with PostgreSQL or Redis, said in one sentence that holds no secret."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg2
import pytest
from alembic.script import ScriptDirectory
from redis import Redis

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.ops import reach, reasons
from ibutsu_server.store import migrate, schema


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something listens that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def set_revision(database: DatabaseSettings, revision: str) -> None:
    """Make the database say that its schema is at the revision."""
    connection = psycopg2.connect(
        host=database.host, port=database.port, user=database.user, password=database.password, dbname=database.database
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = %s", (revision,))
    connection.close()


def test_nothing_is_wrong_with_a_migrated_database(database: DatabaseSettings) -> None:
    assert reach.database_problem(database) is None


def test_the_expected_revision_is_alembics_head() -> None:
    assert schema.expected() == migrate.head()
    revisions = [script.revision for script in ScriptDirectory.from_config(migrate._config()).walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)


def test_an_old_schema_is_said_with_the_command_that_mends_it(database: DatabaseSettings) -> None:
    set_revision(database, "0001")
    expected = f"The schema is at 0001, but must be at {schema.expected()}; `ibutsu db upgrade` brings it there."
    assert reach.database_problem(database) == expected


def test_a_newer_schema_is_fine_while_a_new_version_is_rolled_out(database: DatabaseSettings) -> None:
    set_revision(database, "9999")
    assert reach.database_problem(database) is None


def test_a_database_without_a_schema_is_said(postgres_server: DatabaseSettings) -> None:
    assert reach.database_problem(postgres_server) == schema.difference(None)


def test_a_wrong_password_and_a_wrong_database_are_said_without_either(database: DatabaseSettings) -> None:
    wrong = dataclasses.replace(database, password="not-the-password")
    assert "refuses the user or the password" in str(reach.database_problem(wrong))
    wrong = dataclasses.replace(database, database="no_such_database", user="postgres")
    sentence = str(reach.database_problem(wrong))
    assert "has no database of the name in POSTGRESQL_DATABASE" in sentence
    assert "no_such_database" not in sentence


def test_a_postgresql_that_is_not_there_or_does_not_answer_is_said(
    database: DatabaseSettings, silent_port: int, closed_port: int
) -> None:
    sentence = reach.database_problem(dataclasses.replace(database, port=closed_port))
    assert sentence == f"PostgreSQL at 127.0.0.1:{closed_port} does not run there: the connection is refused."
    sentence = reach.database_problem(dataclasses.replace(database, port=silent_port))
    assert sentence == f"PostgreSQL at 127.0.0.1:{silent_port} does not answer within 2 s."


def test_nothing_is_wrong_with_a_redis_that_answers(broker_url: str) -> None:
    assert reach.broker_problem(broker_url) is None


def test_a_redis_that_answers_and_takes_no_writes_is_said(broker_url: str) -> None:
    with Redis.from_url(broker_url) as client:
        try:
            client.config_set("maxmemory", "1")
            full = reach.broker_problem(broker_url)
        finally:
            client.config_set("maxmemory", "0")
    assert full
    assert full.endswith("is full; see its maxmemory, and CELERY_RESULT_EXPIRES.")
    assert reach.broker_problem(broker_url) is None


def test_a_redis_that_refuses_or_does_not_answer_is_said(broker_url: str, silent_port: int, closed_port: int) -> None:
    parts = urlsplit(broker_url)
    wrong = f"redis://:not-the-password@{parts.hostname}:{parts.port}/0"
    where = f"Redis at {parts.hostname}:{parts.port} (CELERY_BROKER_URL)"
    assert reach.broker_problem(wrong) == f"{where} refuses the password."
    assert reach.broker_problem(f"redis://{parts.hostname}:{parts.port}/0") == f"{where} refuses the password."
    assert "connection is refused" in str(reach.broker_problem(f"redis://127.0.0.1:{closed_port}/0"))
    assert "does not answer within 2 s" in str(reach.broker_problem(f"redis://127.0.0.1:{silent_port}/0"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('could not translate host name "db" to address: Name or service not known', "cannot be found"),
        ("FATAL:  sorry, too many clients already", "has no connection left"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "has no connection"),
        ("FATAL:  the database system is starting up", "is starting or stopping"),
        ("something else with a secret", "does not answer (OperationalError)"),
    ],
)
def test_what_postgresql_says_is_told_by_its_meaning(text: str, reason: str) -> None:
    assert reason in reasons.of_database(psycopg2.OperationalError(text)).sentence
