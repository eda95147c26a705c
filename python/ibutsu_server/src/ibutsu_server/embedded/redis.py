"""A Redis (or Valkey) of our own: a password, a loopback port, and nothing lost when it stops."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import redis as client
from redis.backoff import NoBackoff
from redis.retry import Retry

from ibutsu_server.embedded import binaries, files, ports, processes
from ibutsu_server.embedded.errors import EmbeddedError

NAME = "Redis"
START_SECONDS = 60.0

_STOP = ((signal.SIGTERM, 10.0),)
_PID_FILE = "redis.pid"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A Redis that can be started: the program, and how applications reach it."""

    program: processes.Program
    url: str = dataclasses.field(repr=False)
    port: int
    password: str = dataclasses.field(repr=False)


@contextlib.contextmanager
def server(directory: Path, *, durable: bool = True) -> Iterator[str]:
    """Run Redis with its data in `directory`, kept there, for as long as the block runs; gives its URL.

    Without `durable` it keeps the data in memory only. The log is `server.log` there.
    """
    directory = files.private_directory(directory)
    log = directory / "server.log"
    with files.locked(directory / "lock"), log.open("ab") as output:
        store = prepare(directory, durable=durable)
        process = processes.spawn(store.program, output=output)
        try:
            processes.wait_until(lambda: refusal(store.url), process, NAME, seconds=START_SECONDS, log=log)
            yield store.url
        finally:
            processes.stop(process, store.program)


def prepare(directory: Path, *, durable: bool = True) -> Store:
    """End a server that was left behind, choose the port, and write the configuration."""
    program = binaries.redis_program()
    end_orphan(directory)
    details = files.read_json(directory / "server.json")
    password = details.get("password") or secrets.token_urlsafe(24)
    port = ports.free_port(details.get("port"))
    files.write_json(directory / "server.json", {"password": password, "port": port})
    configuration = {
        "bind": ports.LOOPBACK,
        "port": port,
        "requirepass": f'"{password}"',
        "dir": "./",
        "pidfile": _PID_FILE,
        "daemonize": "no",
        "logfile": '""',
        "save": '""',
        "appendonly": "yes" if durable else "no",
        "maxmemory-policy": "noeviction",
        "always-show-logo": "no",
    }
    # In a file, for the command line is everybody's to read.
    text = "".join(f"{name} {value}\n" for name, value in configuration.items())
    files.write_private(directory / "redis.conf", text)
    wanted = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
    return Store(
        program=processes.Program(
            name="redis",
            argv=(str(program), "redis.conf"),
            environment={name: os.environ[name] for name in wanted if name in os.environ},
            directory=directory,
            stop=_STOP,
            orphaned=signal.SIGTERM,
        ),
        url=f"redis://:{quote(password, safe='')}@{ports.LOOPBACK}:{port}/0",
        port=port,
        password=password,
    )


def refusal(url: str) -> str | None:
    """Return why Redis takes no command, None when it does."""
    try:
        # The client's own attempts would come seconds apart.
        with client.Redis.from_url(
            url, socket_connect_timeout=2, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        ) as connection:
            connection.ping()
    except client.RedisError as error:
        return str(error)
    return None


def end_orphan(directory: Path) -> None:
    """End the server that still runs on the data, left by a supervisor that was killed."""
    try:
        pid = int((directory / _PID_FILE).read_text(encoding="utf-8"))
        process = psutil.Process(pid)
        ours = process.name().endswith(("redis-server", "valkey-server")) and Path(process.cwd()) == directory
    except (OSError, ValueError, psutil.Error):
        return
    orphan = processes.Program(name=NAME, argv=(), environment={}, directory=directory, stop=_STOP)
    if ours and not processes.stop_orphan(process, orphan):
        raise EmbeddedError(f"A Redis server (pid {pid}) still runs on {directory}. End it with: kill {pid}")
