"""`ibutsu up` where it cannot start: a sentence, exit code 1, and no traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ibutsu_server.embedded import files
from ibutsu_server.embedded.up import SAMPLE


def start(directory: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("POSTGRESQL_", "CELERY_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "ibutsu_server.cli", "up", "--data-dir", str(directory), *arguments],
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def refusal(directory: Path, *arguments: str, **variables: str) -> str:
    process = start(directory, *arguments, **variables)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in output
    error = output[output.index("Error: ") :]
    return " ".join(error.split())


def test_a_second_start_says_where_the_first_one_is(directory: Path) -> None:
    with files.locked(directory / "lock") as lock:
        lock.describe({"pid": 4711, "url": "http://127.0.0.1:8080"})
        files.write_json(directory / "local.json", {"url": "http://127.0.0.1:8080"})
        sentence = refusal(directory)
        assert sentence == f"Error: Ibutsu runs already on {directory}, at http://127.0.0.1:8080 (pid 4711)."
        assert (directory / "local.json").exists(), "the first one is still to be found"


def test_a_port_in_use_is_said_when_it_was_asked_for(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"Port {port} is in use" in refusal(directory, "--port", port)


def test_half_a_database_is_said_and_nothing_is_started(directory: Path) -> None:
    sentence = refusal(directory, POSTGRESQL_HOST="db.example")
    assert "POSTGRESQL_HOST is set, but POSTGRESQL_USER, POSTGRESQL_PASSWORD, POSTGRESQL_DATABASE are not" in sentence
    assert not (directory / "postgres").exists()


def test_a_malformed_variable_is_said(directory: Path) -> None:
    assert "CELERY_RESULT_EXPIRES='never' is not a whole number" in refusal(directory, CELERY_RESULT_EXPIRES="never")


def test_data_of_another_version_is_said(directory: Path) -> None:
    (directory / "postgres" / "data").mkdir(parents=True)
    (directory / "postgres" / "data" / "PG_VERSION").write_text("14\n")
    assert "is of PostgreSQL 14" in refusal(directory)


def test_a_data_directory_that_cannot_be_is_said(directory: Path) -> None:
    (directory / "file").touch()
    assert "cannot be used" in refusal(directory / "file" / "data")


def test_a_ctrl_c_at_any_moment_of_the_start_leaves_no_process(
    directory: Path, assert_gone: Callable[[list[psutil.Process]], None]
) -> None:
    """Here while PostgreSQL makes its data; the next start goes on from there."""
    process = start(directory, "--no-sample")
    while not list((directory / "postgres").glob("new-*/data/base")):
        assert process.poll() is None
        time.sleep(0.01)
    running = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in output
    assert_gone(running)


def test_the_sample_is_a_report_with_one_of_each_outcome() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    for part in ("<failure", "<error", "<skipped", "pytest.xfail", "<property ", "<system-out>"):
        assert part in text


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--port", "0"], ["--port", "65536"]])
def test_impossible_numbers_are_refused(directory: Path, arguments: list[str]) -> None:
    process = start(directory, *arguments)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Invalid value" in output
