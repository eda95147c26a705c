"""Processes that are run together: small commands, and both servers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

PRELUDE = """
import asyncio, os, sys
from pathlib import Path
from rich.console import Console
from ibutsu_server.embedded.errors import EmbeddedError
from ibutsu_server.embedded.logs import Log
from ibutsu_server.embedded.processes import Program
from ibutsu_server.embedded.supervisor import Supervisor
from ibutsu_server.embedded import files

directory = files.private_directory(Path(sys.argv[1]))
log = Log(Console(width=200), directory / "logs")
supervisor = Supervisor(log)

def shell(name, text, **options):
    environment = {"PATH": os.environ["PATH"]}
    return Program(name=name, argv=("sh", "-c", text), environment=environment, directory=directory, **options)

async def now():
    return None

def run(main):
    try:
        asyncio.run(supervisor.run(main))
    except EmbeddedError as error:
        print("ERROR", error)
        sys.exit(1)
"""


@pytest.fixture
def supervised(script: Any, directory: Path) -> Callable[[str], subprocess.Popen[str]]:
    def run(code: str) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = script(PRELUDE + code, directory)
        return process

    return run


def wait_for(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read the output up to the line that holds the text."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} did not come, but:\n{''.join(lines)}")


def rest(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120)
    return output


def children(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """Wait until the process has so many children, and theirs, and return them."""
    deadline = time.monotonic() + 60
    while len(found := psutil.Process(process.pid).children(recursive=True)) != count:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_a_process_that_dies_is_said_and_started_again(supervised: Any) -> None:
    process = supervised("""
async def main():
    text = "echo one; echo two >&2; until [ -e ready ]; do sleep 0.1; done; exit 3"
    await supervisor.ready(supervisor.start(shell("api", text), stage=0), now, seconds=60)
    (directory / "ready").touch()
run(main)
""")
    lines = wait_for(process, "api was started again")
    output = "".join(lines)
    assert "ibutsu    | api died (exit code 3); it is started again in 1 s. Its last lines:" in output
    assert "ibutsu    |     two" in output
    again = wait_for(process, "api died")
    assert "it is started again in 2 s" in again[-1], "the delay grows"
    process.send_signal(signal.SIGINT)
    assert "All stopped" in rest(process)
    assert process.returncode == 0


def test_a_process_that_dies_before_it_is_ready_ends_the_start(
    supervised: Any, directory: Path, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = supervised("""
async def never():
    return "it does not answer"

async def main():
    other = supervisor.start(shell("redis", "sleep 60 & wait"), stage=1)
    print("children", flush=True)
    api = supervisor.start(shell("api", "read line < go; echo the reason; exit 7"), stage=0)
    await supervisor.ready(api, never, seconds=60)
os.mkfifo(directory / "go")
run(main)
""")
    wait_for(process, "children")
    running = children(process, 3)
    (directory / "go").write_text("go\n")
    output = rest(process)
    assert "ERROR api ended at its start (exit code 7). Its last lines:\n    the reason" in output
    assert process.returncode == 1
    assert_gone(running)


def test_a_process_that_does_not_get_ready_ends_the_start_in_bounded_time(supervised: Any) -> None:
    process = supervised("""
async def never():
    return "it does not answer"

async def main():
    await supervisor.ready(supervisor.start(shell("api", "echo busy; sleep 60"), stage=0), never, seconds=0.5)
run(main)
""")
    assert "ERROR api was not ready within 0 s: it does not answer. Its last lines:\n    busy" in rest(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_end_comes_in_order_and_leaves_no_process(
    supervised: Any, number: signal.Signals, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = supervised("""
def polite(name):
    return shell(name, "trap 'echo bye; exit 0' TERM; sleep 60 & echo up; while :; do wait; done")

async def main():
    supervisor.start(polite("redis"), stage=2)
    supervisor.start(polite("worker"), stage=1)
    supervisor.start(polite("api"), stage=0)
run(main)
""")
    for _ in range(3):
        wait_for(process, "up")
    running = children(process, 6)
    process.send_signal(number)
    output = rest(process)
    assert [line.split()[0] for line in output.splitlines() if "bye" in line] == ["api", "worker", "redis"]
    assert process.returncode == 0
    assert_gone(running)


def test_a_process_that_does_not_listen_is_killed_and_a_second_ctrl_c_hurries(
    supervised: Any, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = supervised("""
import signal
async def main():
    stop = ((signal.SIGTERM, 60.0), (signal.SIGQUIT, 60.0))
    text = "trap '' TERM; trap '' QUIT; echo up; while :; do sleep 1; done"
    supervisor.start(shell("worker", text, stop=stop), stage=0)
run(main)
""")
    wait_for(process, "up")
    running = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    wait_for(process, "Stopping")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    output = rest(process)
    assert time.monotonic() - started < 60, "less than one of its times"
    assert "Hurrying." in output
    assert "worker did not stop in time and is killed." in output
    assert_gone(running)


def test_what_a_process_leaves_behind_in_other_groups_is_ended(
    supervised: Any, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = supervised("""
async def main():
    python = 'import os, time; os.setsid(); print("elsewhere", flush=True); time.sleep(60)'
    supervisor.start(shell("worker", f"{sys.executable} -c '{python}' & sleep 60 & wait"), stage=0)
run(main)
""")
    wait_for(process, "elsewhere")
    running = children(process, 3)
    process.send_signal(signal.SIGINT)
    rest(process)
    assert_gone(running)


def test_a_ctrl_c_while_something_is_awaited_ends_it(
    supervised: Any, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = supervised("""
async def main():
    await supervisor.complete(shell("schema", "echo up; sleep 60"), seconds=60)
    log.say("not reached")
run(main)
""")
    wait_for(process, "up")
    running = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert "not reached" not in rest(process)
    assert process.returncode == 0
    assert_gone(running)


def test_long_lines_cut_lines_and_binary_are_shown(supervised: Any) -> None:
    process = supervised("""
async def main():
    text = r"printf 'no end'; printf '\\377\\n'; head -c 40000 /dev/zero | tr '\\0' x; printf end; exit 4"
    done = await supervisor.complete(shell("sample", text), seconds=60)
    log.say(f"exit code {done.exit_code}")
    supervisor.request_stop()
run(main)
""")
    output = rest(process)
    assert "sample    | no end\ufffd\n" in output
    assert output.count("x") >= 40000
    assert "end\nibutsu    | exit code 4\n" in output


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux tells a process of its parent's death")
def test_all_end_with_a_supervisor_that_is_killed(
    supervised: Any, directory: Path, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = supervised("""
async def main():
    from ibutsu_server.embedded import checks, postgres, redis
    cluster = postgres.prepare(files.private_directory(directory / "postgres"), durable=False, own=directory)
    store = redis.prepare(files.private_directory(directory / "redis"))
    database = supervisor.start(cluster.program, stage=2)
    broker = supervisor.start(store.program, stage=1)
    supervisor.start(shell("worker", "exec sleep 60"), stage=0)
    await supervisor.ready(database, checks.postgres_ready(cluster.settings), seconds=60)
    await supervisor.ready(broker, checks.redis_ready(store.url), seconds=60)
    log.say("running")
run(main)
""")
    wait_for(process, "running")
    running = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert_gone(running)


def test_a_server_that_crashes_comes_back_on_its_port(
    supervised: Any, directory: Path, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    process = supervised("""
async def main():
    from ibutsu_server.embedded import checks, postgres, redis
    cluster = postgres.prepare(files.private_directory(directory / "postgres"), durable=False, own=directory)
    database = supervisor.start(
        cluster.program, stage=2, before_restart=lambda: postgres.end_orphan(cluster.data)
    )
    await supervisor.ready(database, checks.postgres_ready(cluster.settings), seconds=60)
    os.kill(database.pid, 9)
    await asyncio.sleep(0.5)
    while await checks.postgres_ready(cluster.settings)():
        await asyncio.sleep(0.1)
    log.say("running")
run(main)
""")
    lines = "".join(wait_for(process, "running"))
    assert "postgres died (killed by SIGKILL); it is started again in 1 s." in lines
    running = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert "database system is shut down" in rest(process)
    assert_gone(running)
