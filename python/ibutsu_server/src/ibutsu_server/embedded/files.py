"""Directories and files that only their owner may read, a lock, and free space."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ibutsu_server.embedded.errors import EmbeddedError, from_os_error

FREE_SPACE = 500 * 1024 * 1024
"""Bytes that a disk must have free before anything is started."""


def private_directory(path: Path) -> Path:
    """Make the directory, readable by nobody else, where it lacks; see that it can be written; return it resolved."""
    path = path.absolute()
    try:
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)
        path = path.resolve()
        _refuse_for_root(path)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise from_os_error(error, path) from error
    return path


def _refuse_for_root(path: Path) -> None:
    """Raise EmbeddedError where root would take files over from the user whose they are."""
    owner = path.stat().st_uid
    if os.geteuid() == 0 and owner != 0 and any(path.iterdir()):
        raise EmbeddedError(
            f"{path} belongs to the user {owner}; run as that user, or name another place with --data-dir."
        )


def write_private(path: Path, text: str) -> None:
    """Replace the file as a whole; only its owner may read it."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise from_os_error(error, path.parent) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file by the value as JSON; only its owner may read it."""
    write_private(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that the file holds, an empty one where it is missing or was cut short."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    except OSError as error:
        raise from_os_error(error, path.parent) from error
    return value if isinstance(value, dict) else {}


def require_space(directory: Path, needed: int = FREE_SPACE) -> None:
    """Raise when the disk of `directory` has less than `needed` bytes free."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise EmbeddedError(
            f"The disk that holds {directory} has {free // 2**20} MB free; {needed // 2**20} MB are needed. "
            "Free some space, or choose another place with --data-dir."
        )


class LockedError(Exception):
    """Another process holds the lock. `holder` is what it wrote into the file."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__("The lock is held by another process.")
        self.holder = holder


class Lock:
    """A lock that ends with its process, whatever becomes of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise from_os_error(error, path.parent) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise LockedError(read_json(path)) from error
        self.describe({"pid": os.getpid()})

    def describe(self, holder: Mapping[str, Any]) -> None:
        """Say in the file who holds the lock."""
        text = json.dumps(holder).encode()
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)
        except OSError as error:
            raise from_os_error(error, self._path.parent) from error

    def release(self) -> None:
        """Give the lock up; the file stays, so that nobody ever locks a file that was removed."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Hold the lock. Raises LockedError at once when another process has it."""
    lock = Lock(path)
    try:
        yield lock
    finally:
        lock.release()
