"""The directory in which the processes of one worker or one gunicorn count, each in files of its own.

prometheus-client takes it from PROMETHEUS_MULTIPROC_DIR. Each start has a new one, so that no count of another
time is shown, in the directory for temporary files: nothing else need be writable.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

logger = logging.getLogger(__name__)

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_PREFIX = "ibutsu-metrics-"
_ALIVE, _COLLECTING = "alive.lock", "collecting.lock"


def prepare() -> None:
    """Make the directory of this process and those that it will fork, and remove it in the end.

    Where none can be made, each process counts for itself, and nobody shows what a worker's children count.
    """
    owner = os.getpid()
    try:
        _remove_left_behind()
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Held for as long as this process or a child of it lives.
        lock = (directory / _ALIVE).open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        os.environ.pop(VARIABLE, None)
        logger.warning("No directory for metrics can be made where temporary files go: %s.", error.strerror)
        return
    os.environ[VARIABLE] = str(directory)

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)
            lock.close()

    atexit.register(remove)


def directory() -> Path | None:
    """Return the directory, None where each process counts for itself."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


@contextlib.contextmanager
def collecting(directory: Path) -> Iterator[None]:
    """Hold the files still, with what dead processes counted added up in one."""
    with (directory / _COLLECTING).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _add_up_dead(directory)
        yield


def _add_up_dead(directory: Path) -> None:
    for path in directory.glob("*_*.db"):
        kind, _, pid = path.stem.rpartition("_")
        if not pid.isdigit() or _is_alive(int(pid)):
            continue
        total = MmapedDict(str(directory / f"{kind}_dead.db"))
        for key, value, _time, _position in MmapedDict.read_all_values_from_file(str(path)):
            total.write_value(key, total.read_value(key)[0] + value, 0.0)
        total.close()
        path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_left_behind() -> None:
    """Remove the directories of processes that were killed; those of others' are theirs."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            with (path / _ALIVE).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
