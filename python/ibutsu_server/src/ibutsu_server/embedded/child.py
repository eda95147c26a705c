"""One process of the system: its output, its end, and its next start."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import subprocess
import time
from collections.abc import Callable

from ibutsu_server.embedded import processes
from ibutsu_server.embedded.logs import Log
from ibutsu_server.embedded.processes import Program

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
"""Seconds before a process that died is started again: doubled each time."""

STABLE_SECONDS = 60.0
"""After so long a process counts as healthy, and its next delay is the first again."""

HURRIED_SECONDS = 2.0
TAIL_LINES = 15

_LONGEST_LINE = 16 * 1024


class Child:
    """A program that is kept running: when it dies, it is started again with a growing delay.

    With `once` it runs to its end instead.
    """

    def __init__(
        self, program: Program, log: Log, *, once: bool = False, before_restart: Callable[[], None] | None = None
    ) -> None:
        self.program = program
        self.tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self.is_ready = False
        self._log = log
        self._once = once
        self._before_restart = before_restart
        self._process: subprocess.Popen[bytes] | None = None
        self._exited = asyncio.Event()
        self._stopping = False
        self._buffer = b""
        self._reading: int | None = None
        self._started = 0.0
        self._delay = FIRST_DELAY

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return None if self._process is None or self._exited.is_set() else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended, None while it runs."""
        return self._process.returncode if self._process and self._exited.is_set() else None

    def start(self) -> None:
        """Start the process."""
        self._process = processes.spawn(self.program)
        self._exited.clear()
        self._started = time.monotonic()
        assert self._process.stdout is not None  # noqa: S101 - spawn's default
        self._reading = self._process.stdout.fileno()
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    def reap(self) -> None:
        """Notice that the process has ended; called when any has."""
        if self._process and not self._exited.is_set() and self._process.poll() is not None:
            self._exited.set()

    async def wait(self) -> int:
        """Wait for the process's end and return its exit code."""
        await self._exited.wait()
        assert self._process is not None  # noqa: S101 - it was started
        self._close()
        return self._process.returncode

    async def keep(self) -> None:
        """Start the process again whenever it dies, until it is stopped, or when it never became ready."""
        while True:
            code = await self.wait()
            if self._stopping or self._once or not self.is_ready:
                return
            assert self._process is not None  # noqa: S101
            processes.sweep(self._process.pid, [])
            if time.monotonic() - self._started > STABLE_SECONDS:
                self._delay = FIRST_DELAY
            last = "".join(f"\n    {line}" for line in list(self.tail)[-5:])
            self._log.say(
                f"{self.program.name} died ({describe(code)}); it is started again in {self._delay:.0f} s. "
                f"Its last lines:{last or ' none.'}"
            )
            await asyncio.sleep(self._delay)
            self._delay = min(2 * self._delay, LONGEST_DELAY)
            if self._stopping:
                return
            try:
                if self._before_restart:
                    self._before_restart()
                self.start()
            except Exception as error:  # noqa: BLE001 - the next attempt may succeed
                self._log.say(f"{self.program.name} could not be started again: {error}")
                continue
            self._log.say(f"{self.program.name} was started again as pid {self.pid}.")

    def retire(self) -> None:
        """Start the process no more when it ends."""
        self._stopping = True

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the process by its signals, one after the other; sooner when `hurry` is set."""
        self.retire()
        process = self._process
        self.reap()
        if process is None or self._exited.is_set():  # Its group is gone, and the number may be another's by now.
            self._close()
            return
        stragglers = processes.descendants(process)
        for number, seconds in (*self.program.stop, (signal.SIGKILL, 10.0)):
            if self._exited.is_set():
                break
            if number is signal.SIGKILL:
                self._log.say(f"{self.program.name} did not stop in time and is killed.")
            processes.send(process, number)
            await self._exited_within(seconds, hurry)
        processes.sweep(process.pid, stragglers)
        self._close()

    async def _exited_within(self, seconds: float, hurry: asyncio.Event) -> None:
        if hurry.is_set():
            seconds = min(seconds, HURRIED_SECONDS)
        waits = [asyncio.ensure_future(self._exited.wait())]
        if not hurry.is_set():
            waits.append(asyncio.ensure_future(hurry.wait()))
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _read(self) -> None:
        assert self._reading is not None  # noqa: S101 - it is what has something to read
        try:
            data = os.read(self._reading, 64 * 1024)
        except BlockingIOError:
            return
        if not data:
            self._close()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._buffer) > _LONGEST_LINE:
            self._line(self._buffer)
            self._buffer = b""

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rpartition("\r")[2] or line.decode(errors="replace").rstrip("\r")
        self.tail.append(self._log.line(self.program.name, text))

    def _close(self) -> None:
        """Take what is left in the pipe, and close it."""
        if self._reading is None or self._process is None or self._process.stdout is None:
            return
        reading, self._reading = self._reading, None
        asyncio.get_running_loop().remove_reader(reading)
        rest = self._buffer
        try:
            while data := os.read(reading, 64 * 1024):
                rest += data
        except BlockingIOError:
            pass
        self._buffer = b""
        for line in rest.splitlines():
            self._line(line)
        self._process.stdout.close()


def describe(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
