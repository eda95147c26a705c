"""Runs processes together: started one by one, watched, and stopped in order, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable

from ibutsu_server.embedded.child import Child, describe
from ibutsu_server.embedded.errors import EmbeddedError
from ibutsu_server.embedded.logs import Log
from ibutsu_server.embedded.processes import Program

Check = Callable[[], Awaitable[str | None]]
"""Returns why a process is not ready yet, None when it is."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """The processes of one system. Those of the lowest stage are stopped first.

    Everything happens in the main thread, for the kernel takes its end for the parent's (see `processes.spawn`).
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._children: list[tuple[int, Child]] = []
        self._keepers: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._on_stop: list[Callable[[], None]] = []

    def on_stop(self, function: Callable[[], None]) -> None:
        """Have the function called when the end begins."""
        self._on_stop.append(function)

    def request_stop(self) -> None:
        """Begin the end; asked a second time, hurry."""
        if self._stop.is_set():
            if not self._hurry.is_set():
                self._log.say("Hurrying.")
            self._hurry.set()
        self._stop.set()

    async def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run `main`, then wait for a signal; at the end, or when `main` raises, stop all processes in order."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.request_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        work = asyncio.ensure_future(main())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await stopping
        finally:
            for task in (work, stopping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            self._stop.set()
            await self._stop_all()

    def start(
        self, program: Program, *, stage: int, once: bool = False, before_restart: Callable[[], None] | None = None
    ) -> Child:
        """Start a program and keep it running; with `once`, let it run to its end."""
        child = Child(program, self._log, once=once, before_restart=before_restart)
        child.start()
        self._children.append((stage, child))
        if not once:
            keeper = asyncio.ensure_future(child.keep())
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)
        return child

    async def ready(self, child: Child | str, check: Check, *, seconds: float) -> None:
        """Wait until the check passes. Raises when the process ends before, or when that takes too long.

        Of a server that is not ours there is only the name.
        """
        name = child if isinstance(child, str) else child.program.name
        deadline = time.monotonic() + seconds
        while (reason := await check()) is not None:
            if isinstance(child, Child) and child.exit_code is not None:
                code = await child.wait()
                raise EmbeddedError(_with_tail(f"{name} ended at its start ({describe(code)})", child))
            if time.monotonic() > deadline:
                sentence = f"{name} was not ready within {seconds:.0f} s: {reason}"
                raise EmbeddedError(_with_tail(sentence, child) if isinstance(child, Child) else sentence)
            await asyncio.sleep(0.1)
        if isinstance(child, Child):
            child.is_ready = True

    async def complete(self, program: Program, *, seconds: float) -> Child:
        """Run a program to its end. Raises when that takes too long; its exit code is for the caller to judge."""
        child = self.start(program, stage=0, once=True)
        try:
            await asyncio.wait_for(child.wait(), seconds)
        except TimeoutError:
            await child.stop(self._hurry)
            raise EmbeddedError(_with_tail(f"{program.name} took longer than {seconds:.0f} s", child)) from None
        self._children.remove((0, child))
        return child

    def _reap(self) -> None:
        for _, child in self._children:
            child.reap()

    async def _stop_all(self) -> None:
        for function in self._on_stop:
            function()
        started = time.monotonic()
        if self._children:
            self._log.say("Stopping; Ctrl-C again to hurry.")
        for _, child in self._children:
            child.retire()
        for stage in sorted({stage for stage, _ in self._children}):
            await asyncio.gather(*(child.stop(self._hurry) for each, child in self._children if each == stage))
        for keeper in list(self._keepers):
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._children:
            self._log.say(f"All stopped in {time.monotonic() - started:.1f} s.")


def _with_tail(sentence: str, child: Child) -> str:
    if not child.tail:
        return f"{sentence}; it said nothing."
    return "\n    ".join((f"{sentence}. Its last lines:", *child.tail))
