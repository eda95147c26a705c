"""Locks, private files, free space and ports."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from ibutsu_server.embedded import files, ports
from ibutsu_server.embedded.errors import EmbeddedError

HOLD_LOCK = """
    import sys, time
    from pathlib import Path
    from ibutsu_server.embedded import files

    with files.locked(Path(sys.argv[1])) as lock:
        lock.describe({"pid": 4711, "url": "http://127.0.0.1:8080"})
        print("locked", flush=True)
        time.sleep(60)
"""


def test_a_lock_says_who_holds_it_and_ends_with_its_holder(tmp_path: Path, script: Any) -> None:
    path = tmp_path / "lock"
    process = script(HOLD_LOCK, path)
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(files.LockedError) as raised, files.locked(path):
        pass
    assert raised.value.holder == {"pid": 4711, "url": "http://127.0.0.1:8080"}
    process.kill()
    process.wait()
    with files.locked(path):
        assert files.read_json(path) == {"pid": os.getpid()}


def test_what_is_private_is_so_from_the_first_moment(tmp_path: Path) -> None:
    directory = files.private_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files.write_json(directory / "x.json", {"a": 1})
    files.write_json(directory / "x.json", {"a": 2})
    assert stat.S_IMODE((directory / "x.json").stat().st_mode) == 0o600
    assert files.read_json(directory / "x.json") == {"a": 2}
    assert [path.name for path in directory.iterdir()] == ["x.json"]


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_file_that_was_cut_short_counts_as_missing(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert files.read_json(tmp_path / "x.json") == {}
    assert files.read_json(tmp_path / "y.json") == {}


def test_a_directory_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"cannot be used: .*--data-dir"):
        files.private_directory(tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EmbeddedError, match="cannot be used: permission denied"):
        files.private_directory(tmp_path)


def test_too_little_space_is_said_in_a_sentence(tmp_path: Path) -> None:
    files.require_space(tmp_path, 1)
    with pytest.raises(EmbeddedError, match=r"has \d+ MB free; \d+ MB are needed"):
        files.require_space(tmp_path, 2**60)


def test_a_full_disk_is_said_in_a_sentence() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    lock = files.Lock.__new__(files.Lock)
    lock._path = Path("/dev/full")
    lock._file = os.open("/dev/full", os.O_RDWR)
    try:
        with pytest.raises(EmbeddedError):
            lock.describe({})
    finally:
        os.close(lock._file)


def test_a_port_in_use_is_passed_over() -> None:
    port = ports.free_port()
    with socket.create_server((ports.LOOPBACK, port)):
        assert not ports.is_free(port)
        other = ports.free_port(port)
        assert other != port
    assert ports.free_port(None, port) == port
    assert ports.is_free(other)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could take another user's files over")
def test_root_does_not_take_over_the_data_of_another_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 12345, 12345)
    assert files.private_directory(data) == data
    (data / "kept").touch()
    with pytest.raises(EmbeddedError, match="belongs to the user 12345"):
        files.private_directory(data)
