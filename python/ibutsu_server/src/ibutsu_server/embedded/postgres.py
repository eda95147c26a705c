"""A PostgreSQL cluster of our own: made in one step, run in the foreground, listening on a loopback port only."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.embedded import binaries, files, ports, processes, system_user
from ibutsu_server.embedded.errors import EmbeddedError, disk_full

NAME = "PostgreSQL"
ROLE = DATABASE = "ibutsu"
START_SECONDS = 60.0

# "Fast" rolls back what runs, "immediate" leaves the write-ahead log to the next start.
_STOP = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))

_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that can be started: the program, and how applications reach it."""

    program: processes.Program
    settings: DatabaseSettings
    data: Path
    binaries: Path


@contextlib.contextmanager
def server(directory: Path, *, durable: bool = True) -> Iterator[DatabaseSettings]:
    """Run PostgreSQL with its data in `directory`, kept there, for as long as the block runs.

    Without `durable` it is quicker, and a crash of the machine may cost the data. The log is `server.log` there.
    As root the directory's parents must let other users pass, which those of pytest's `tmp_path` do not.
    """
    directory = files.private_directory(directory)
    log = directory / "server.log"
    with files.locked(directory / "lock"), log.open("ab") as output:
        cluster = prepare(directory, durable=durable)
        process = processes.spawn(cluster.program, output=output)
        try:
            processes.wait_until(lambda: refusal(cluster.settings), process, NAME, seconds=START_SECONDS, log=log)
            yield cluster.settings
        finally:
            processes.stop(process, cluster.program)


def prepare(
    directory: Path, *, durable: bool = True, own: Path | None = None, say: Callable[[str], None] = print
) -> Cluster:
    """Make the cluster in `directory` where it lacks, end a server that was left behind, and choose the port.

    `own` is the outermost directory whose permissions are ours to change without a word.
    """
    programs = binaries.postgres_directory()
    user = system_user.required()
    data = directory / "data"
    if user:
        system_user.open_tree(user, programs.resolve().parent, say)
        system_user.open_way(user, data, say, own=own or directory)
    if not data.exists():
        _initialise(directory, programs, user, durable=durable)
    _check_version(data, programs)
    end_orphan(data)

    details = files.read_json(directory / "server.json")
    if "password" not in details:
        raise EmbeddedError(
            f"{directory / 'server.json'}, which holds the password of the cluster in {data}, is missing or broken. "
            f"Put it back, or remove {directory} to start with an empty database."
        )
    port = ports.free_port(details.get("port"))
    files.write_json(directory / "server.json", {**details, "port": port})
    options = {"listen_addresses": ports.LOOPBACK, "port": str(port), "unix_socket_directories": ""}
    options |= {"logging_collector": "off", "log_destination": "stderr", "log_line_prefix": ""}
    options |= {"timezone": "UTC", "log_timezone": "UTC"}
    options |= {} if durable else _FAST
    return Cluster(
        program=processes.Program(
            name="postgres",
            argv=(str(programs / "postgres"), "-D", str(data), *_as_arguments(options)),
            environment=_environment(),
            directory=directory,
            user=user,
            stop=_STOP,
            orphaned=signal.SIGINT,
        ),
        settings=DatabaseSettings(
            host=ports.LOOPBACK, port=port, user=ROLE, password=details["password"], database=DATABASE
        ),
        data=data,
        binaries=programs,
    )


def refusal(settings: DatabaseSettings) -> str | None:
    """Return why PostgreSQL takes no connection, None when it does."""
    import psycopg2

    try:
        psycopg2.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password,
            dbname=settings.database,
            connect_timeout=2,
        ).close()
    except psycopg2.Error as error:
        return str(error).strip()
    return None


def end_orphan(data: Path) -> None:
    """End the server that still runs on the data, left by a supervisor that was killed; remove a stale pid file."""
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except FileNotFoundError:
        return
    except ValueError:
        pid = 0
    process = _postmaster(pid, data)
    if process is None:
        pid_file.unlink(missing_ok=True)
        return
    orphan = processes.Program(name=NAME, argv=(), environment={}, directory=data, stop=_STOP)
    if not processes.stop_orphan(process, orphan):
        raise EmbeddedError(f"A PostgreSQL server (pid {pid}) still runs on {data}. End it with: kill -INT {pid}")


def _postmaster(pid: int, data: Path) -> psutil.Process | None:
    """Return the process if it is a PostgreSQL server, and the one that runs on this data."""
    try:
        process = psutil.Process(pid) if pid > 0 else None
        if process is None or process.status() == psutil.STATUS_ZOMBIE or "postgres" not in process.name():
            return None
        if str(data) in process.cmdline() or Path(process.cwd()) == data:
            return process
    except psutil.AccessDenied as error:
        raise EmbeddedError(
            f"{data / 'postmaster.pid'} names process {pid}, a PostgreSQL server of another user. "
            f"End it if it is left over from an earlier start, or choose another place with --data-dir."
        ) from error
    except psutil.Error:
        pass
    return None


def _initialise(directory: Path, programs: Path, user: system_user.SystemUser | None, *, durable: bool) -> None:
    """Make the cluster, the role and the database beside `data`, and rename: it is there as a whole or not at all."""
    new = Path(tempfile.mkdtemp(prefix="new-", dir=directory))
    try:
        passwords = {name: secrets.token_urlsafe(24) for name in ("password", "superuser_password")}
        password_file = new / "password"
        files.write_private(password_file, passwords["superuser_password"])
        if user:
            for path in (new, password_file):
                os.chown(path, user.uid, user.gid)
        data = new / "data"
        initdb = [str(programs / "initdb"), f"--pgdata={data}", "--username=postgres", f"--pwfile={password_file}"]
        initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        # Upper and lower case of all letters, the same on every machine.
        initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        _run(initdb if durable else [*initdb, "--no-sync"], directory, user)
        single = [str(programs / "postgres"), "--single", "-D", str(data), *_as_arguments({"exit_on_error": "on"})]
        single += _as_arguments({} if durable else _FAST)
        statements = (
            f"CREATE ROLE {ROLE} LOGIN PASSWORD '{passwords['password']}'\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n"
        )
        _run([*single, "postgres"], directory, user, statements)
        files.write_json(directory / "server.json", passwords)
        data.rename(directory / "data")
    finally:
        # Not only this one, but also what was left by a start that was killed.
        for left in directory.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)


def _run(argv: list[str], directory: Path, user: system_user.SystemUser | None, statements: str | None = None) -> None:
    program = processes.Program(
        name=Path(argv[0]).name, argv=tuple(argv), environment=_environment(), directory=directory, user=user
    )
    status, output = processes.run(program, (statements or "").encode())
    if status == 0:
        return
    if re.search("No space left on device|Disk quota exceeded", output):
        raise disk_full(directory)
    lines = "\n".join(f"    {line}" for line in output.splitlines()[-15:])
    raise EmbeddedError(f"PostgreSQL's data could not be made in {directory}: {program.name} failed:\n{lines}")


def _check_version(data: Path, programs: Path) -> None:
    try:
        found = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
    except OSError:
        found = "unknown"
    shown = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"\) (\d+)", shown)
    version = match.group(1) if match else "unknown"
    if found != version:
        raise EmbeddedError(
            f"The data in {data} is of PostgreSQL {found}, but the programs in {programs} are version {version}. "
            "Choose another place with --data-dir, or move the data with pg_dump of the old version."
        )


def _environment() -> dict[str, str]:
    wanted = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    return {name: os.environ[name] for name in wanted if name in os.environ} | {"LC_ALL": "C"}


def _as_arguments(options: dict[str, str]) -> list[str]:
    return [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
