"""Programs as data, and the processes that run them: each in a session of its own, dying with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import psutil

from ibutsu_server.embedded.errors import EmbeddedError
from ibutsu_server.embedded.system_user import SystemUser

_PR_SET_PDEATHSIG = 1

_ORDINARY = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "TZDIR", "LANG", "LANGUAGE", "LC_ALL")
_ORDINARY_PREFIXES = ("LC_", "PYTHON", "SSL_CERT_", "LD_LIBRARY_PATH", "DYLD_", "NIX_", "COVERAGE_")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, and how to end it.

    `stop` are signals and the seconds that each is given before the next; SIGKILL follows by itself. `orphaned` is
    the signal that the process gets when its parent dies, where the system (Linux) can do that.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    directory: Path
    user: SystemUser | None = None
    stop: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 5.0),)
    orphaned: signal.Signals = signal.SIGKILL


def ordinary_environment() -> dict[str, str]:
    """Return the part of this process's environment that any program needs, and no setting of an application."""
    return {
        name: value for name, value in os.environ.items() if name in _ORDINARY or name.startswith(_ORDINARY_PREFIXES)
    }


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Make the function that runs between fork and exec. It follows the change of user, which would undo it."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # It died before it could be watched.
            os._exit(1)

    return before_exec


def spawn(
    program: Program, *, output: int | IO[bytes] = subprocess.PIPE, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start the program; its standard output and error both go to `output`.

    Must be called from the main thread: the kernel takes the end of the calling thread for the end of the parent.
    """
    user = program.user
    try:
        return subprocess.Popen(
            program.argv,
            cwd=program.directory,
            env=dict(program.environment),
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            preexec_fn=_die_with_parent(program.orphaned),  # noqa: PLW1509 - it takes no lock and allocates nothing
        )
    except OSError as error:
        raise EmbeddedError(f"{program.name} cannot be started: {program.argv[0]}: {error.strerror}.") from error


def run(program: Program, text: bytes) -> tuple[int, str]:
    """Run the program to its end with `text` as its input; return its exit code and what it wrote.

    Whatever interrupts that, a Ctrl-C as well, leaves no process behind.
    """
    process = spawn(program, stdin=subprocess.PIPE)
    try:
        output, _ = process.communicate(text)
        return process.returncode, output.decode(errors="replace")
    finally:
        if process.poll() is None:
            stop(process, dataclasses.replace(program, stop=()))
        if process.stdout:
            process.stdout.close()


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send the signal to the process, if it still runs."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the children of the process and theirs."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []


def sweep(group: int, stragglers: list[psutil.Process]) -> None:
    """Kill what is left of a process that has ended: its group, and descendants that had left the group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + 1.0
    while (alive := [straggler for straggler in stragglers if _runs(straggler)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for straggler in alive:
        with contextlib.suppress(psutil.Error):
            straggler.kill()


def _runs(process: psutil.Process) -> bool:
    """Tell whether the process runs; one that waits only to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def stop(process: subprocess.Popen[bytes], program: Program) -> None:
    """End the process by the program's signals, one after the other, and all that it had started."""
    stragglers = descendants(process)
    for number, seconds in (*program.stop, (signal.SIGKILL, 10.0)):
        send(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    sweep(process.pid, stragglers)


def stop_orphan(process: psutil.Process, program: Program) -> bool:
    """End a process that is not our child in the same way; tell whether it is gone."""
    for number, seconds in (*program.stop, (signal.SIGKILL, 5.0)):
        try:
            process.send_signal(number)
            process.wait(seconds)
        except psutil.NoSuchProcess:
            return True
        except psutil.TimeoutExpired:
            continue
        except psutil.AccessDenied:
            return False
        return True
    return not process.is_running()


def wait_until(
    ready: Callable[[], str | None], process: subprocess.Popen[bytes], name: str, *, seconds: float, log: Path
) -> None:
    """Wait until `ready` returns None; what it returns otherwise is the reason for the error after `seconds`."""
    deadline = time.monotonic() + seconds
    while (reason := ready()) is not None:
        if process.poll() is not None:
            raise EmbeddedError(f"{name} ended with exit code {process.returncode} while starting:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{name} was not ready within {seconds:.0f} s: {reason}\n{tail(log)}")
        time.sleep(0.02)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
