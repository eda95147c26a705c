"""What goes wrong on an operator's machine, said in a sentence."""

from __future__ import annotations

import errno
from pathlib import Path


class EmbeddedError(Exception):
    """Something that a person has to put right; the message is a sentence that says what."""


def disk_full(directory: Path) -> EmbeddedError:
    """Return the error for a disk that has no room left."""
    return EmbeddedError(
        f"The disk that holds {directory} is full. Free some space, or choose another place with --data-dir."
    )


def from_os_error(error: OSError, directory: Path) -> EmbeddedError:
    """Turn an error of a file operation below `directory` into a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(directory)
    place = error.filename or directory
    reason = (error.strerror or str(error)).lower()
    return EmbeddedError(f"{place} cannot be used: {reason}. Put that right, or choose another place with --data-dir.")
