"""A clock that tests move under running processes: they are loaded with a library that adds what a file says.

libfaketime will not do: Python's `time.sleep` fails with it, unless the monotonic clock is moved too, which no clock of
a real machine is.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    char text[32] = {0};
    const char *path = getenv("IBUTSU_TESTS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    return size > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && clock == CLOCK_REALTIME) at->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """The clock of the processes that get `variables`; it is right until it is set."""

    def __init__(self, directory: Path) -> None:
        source, library = directory / "clock.c", directory / "clock.so"
        self._ahead = directory / "clock"
        source.write_text(SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        self.set(0)
        self.variables = {"LD_PRELOAD": str(library), "IBUTSU_TESTS_CLOCK": str(self._ahead)}

    def set(self, ahead: int) -> None:
        """Have it so many seconds ahead of the machine's."""
        new = self._ahead.with_suffix(".new")
        new.write_text(str(ahead))
        new.rename(self._ahead)


@functools.cache
def unmovable() -> str | None:
    """Return why no clock can be moved here, None where one can."""
    return None if shutil.which("cc") and Path("/proc/self").exists() else "there is no C compiler"
