"""A file system that is small enough to be filled."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path


def mount(directory: Path, size: int, stack: contextlib.ExitStack) -> bool:
    """Make the directory a file system of its own, of `size` bytes, in memory; tell whether that worked."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(directory)],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        stack.callback(subprocess.run, ["umount", "--lazy", str(directory)], check=True)
    return done.returncode == 0
