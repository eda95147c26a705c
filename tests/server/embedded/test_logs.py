"""What is shown and kept of what the processes say."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from ibutsu_server.embedded import logs
from ibutsu_server.embedded.logs import Log


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=60)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_line_has_its_name_and_is_kept_in_its_file(console: Console, tmp_path: Path) -> None:
    log = Log(console, tmp_path / "logs")
    log.line("api", "a line [bold]as it is[/bold] " + "x" * 100)
    log.line("worker2", "another")
    log.close()
    assert shown(console).splitlines() == [
        "api       | a line [bold]as it is[/bold] " + "x" * 100,
        "worker2   | another",
    ]
    assert (tmp_path / "logs" / "worker2.log").read_text().endswith(" another\n")


def test_no_secret_passes(console: Console, tmp_path: Path) -> None:
    log = Log(console, tmp_path / "logs")
    log.hide(["password1", "password1+more", "", "abc"])
    log.line("api", "abc redis://:password1@host and password1+more")
    log.say("password1")
    log.close()
    kept = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    for text in (shown(console), kept):
        assert "password1" not in text
        assert "abc redis://:********@host and ********\n" in text


def test_no_line_moves_the_cursor(console: Console, tmp_path: Path) -> None:
    log = Log(console, tmp_path / "logs")
    assert log.line("api", "\x1b[31mred\x1b[0m\a \x1b[2Jtab\there\x00") == "red tab\there"
    log.close()


def test_files_are_rotated_at_the_start_and_bounded(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 2000)
    for start in range(3):
        log = Log(console, tmp_path)
        log.line("api", f"start {start}")
        log.close()
    assert [(tmp_path / name).read_text().split()[-1] for name in ("api.log", "api.log.1", "api.log.2")] == [*"210"]
    log = Log(console, tmp_path)
    for _ in range(1000):
        log.line("api", "x" * 50)
    log.close()
    files = list(tmp_path.glob("api.log*"))
    assert len(files) == 1 + logs.KEPT_FILES
    assert max(path.stat().st_size for path in files) <= 2000


def test_a_full_disk_is_said_once_and_the_console_goes_on(console: Console, tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = Log(console, tmp_path)
    log._file("api").stream = Full()  # type: ignore[assignment]
    for number in range(3):
        log.line("api", f"line {number}")
    log.close()
    assert shown(console).count("cannot be written any more") == 1
    assert "line 2" in shown(console)


def test_a_terminal_that_is_gone_is_told_once(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    calls: list[int] = []
    log = Log(Console(file=Gone()), tmp_path)
    log.on_broken_console = lambda: calls.append(1)
    log.line("api", "one")
    log.line("api", "two")
    log.close()
    assert calls == [1]
    assert "two" in (tmp_path / "api.log").read_text()
