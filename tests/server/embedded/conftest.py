"""Directories that PostgreSQL's user can reach, and scripts that run as processes of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

Script = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory; not `tmp_path`, whose parents are closed to all other users."""
    path = Path(tempfile.mkdtemp(prefix="ibutsu-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def script() -> Iterator[Script]:
    """Starts Python code as a process; it is killed at the end of the test if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def assert_gone() -> Callable[[list[psutil.Process]], None]:
    """Checks that none of the processes is left; those that are being torn down have a moment."""

    def check(processes: list[psutil.Process]) -> None:
        assert processes, "there was nothing to watch"
        deadline = time.monotonic() + 60
        while left := [process for process in processes if runs(process)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return check
