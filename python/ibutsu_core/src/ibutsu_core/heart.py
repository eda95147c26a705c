"""Whether a process's main loop turns, noted by the loop itself and read by the health server's thread."""

from __future__ import annotations

import sys
import threading
import time


class Heart:
    """When the main loop turned last, and what it is about.

    `works` is true while the process does what it is for: a worker takes tasks, a scheduler sends them. `ends` is true
    once it was told to end; from then on no turn is expected, for it may have long tasks to finish.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._thread = threading.main_thread().ident
        self.works = False
        self.ends = False

    def beat(self) -> None:
        """Note that the loop turned."""
        self._last = time.monotonic()

    @property
    def silence(self) -> float:
        """The seconds since the last turn."""
        return time.monotonic() - self._last

    def place(self) -> str:
        """Say in which function the main loop is at the moment."""
        frame = sys._current_frames().get(self._thread or 0)
        if frame is None:
            return "no function"
        return f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})"


HEART = Heart()
"""The heart of this process; it has one main loop."""
