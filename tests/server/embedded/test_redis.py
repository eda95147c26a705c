"""Redis of our own: real servers."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis as client
from redis.backoff import NoBackoff
from redis.retry import Retry

from ibutsu_server.embedded import files, processes, redis

RUN_SERVER = """
    import sys, time
    from pathlib import Path
    from ibutsu_server.embedded import redis

    with redis.server(Path(sys.argv[1])):
        print("ready", flush=True)
        time.sleep(60)
"""


def server_process(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "redis.pid").read_text()))


def test_data_and_address_are_kept_between_starts(directory: Path) -> None:
    with redis.server(directory) as first, client.Redis.from_url(first) as connection:
        connection.set("kept", "value")
    with redis.server(directory) as second, client.Redis.from_url(second) as connection:
        assert connection.get("kept") == b"value"
    assert second == first


def test_it_is_as_a_broker_has_to_be(directory: Path) -> None:
    with redis.server(directory) as url, client.Redis.from_url(url) as connection:
        found = connection.config_get("appendonly", "maxmemory-policy", "bind", "protected-mode")
    assert found == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "protected-mode": "yes",
    }


def test_nobody_gets_in_without_the_password(directory: Path) -> None:
    with redis.server(directory, durable=False) as url:
        port = urlsplit(url).port
        assert port
        with (
            client.Redis(port=port, retry=Retry(NoBackoff(), 0)) as connection,
            pytest.raises(client.AuthenticationError),
        ):
            connection.ping()


def test_no_password_is_seen_from_outside(directory: Path) -> None:
    with redis.server(directory, durable=False) as url:
        password = urlsplit(url).password
        assert password
        process = server_process(directory)
        assert password not in " ".join(process.cmdline())
        assert password not in str(process.environ())
        assert password not in (directory / "server.log").read_text()
    for name in ("redis.conf", "server.json"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux tells a process of its parent's death")
def test_it_ends_with_a_supervisor_that_is_killed(
    directory: Path, script: Any, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = script(RUN_SERVER, directory)
    assert process.stdout.readline() == "ready\n"
    running = [server_process(directory)]
    process.kill()
    assert_gone(running)


def test_a_server_that_outlived_its_supervisor_is_stopped_first(directory: Path) -> None:
    store = redis.prepare(files.private_directory(directory))
    orphan = processes.spawn(store.program, output=subprocess.DEVNULL)
    try:
        while redis.refusal(store.url):
            time.sleep(0.02)
        with client.Redis.from_url(store.url) as connection:
            connection.set("kept", "value")
        with redis.server(directory) as url, client.Redis.from_url(url) as connection:
            assert server_process(directory).pid != orphan.pid
            assert connection.get("kept") == b"value"
    finally:
        orphan.kill()
        orphan.wait()


@pytest.mark.parametrize("text", ["{self}", "999999999", "rubbish", ""])
def test_a_stale_pid_file_is_no_hindrance(directory: Path, text: str) -> None:
    """Even where its number belongs to another process by now, here to the test's own."""
    (directory / "redis.pid").write_text(text.replace("{self}", str(os.getpid())))
    with redis.server(directory, durable=False) as url, client.Redis.from_url(url) as connection:
        assert connection.ping()
