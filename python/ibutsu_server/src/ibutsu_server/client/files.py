"""Files to upload."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ibutsu_server.client.access import ClientError


class WatchedFile(io.FileIO):
    """A file that tells how many of its bytes have been read."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._told = told

    def read(self, size: int | None = -1, /) -> Any:
        """Return the next bytes."""
        data = super().read(-1 if size is None else size)
        self._told(self.tell())
        return data


def size_of(path: Path) -> int:
    """Return the bytes of a file that can be uploaded; raise ClientError for one that cannot."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ClientError("It is a directory; name the report files in it.")
        if not stat.S_ISREG(status.st_mode):
            raise ClientError("It is not a regular file.")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise ClientError("There is no such file.") from None
    except OSError as error:
        raise ClientError(f"It cannot be read: {error.strerror}.") from error
    if status.st_size == 0:
        raise ClientError("It is empty.")
    return status.st_size
