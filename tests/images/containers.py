"""Containers of the images, as a cluster runs them: read-only, without capabilities, as a user that nobody knows."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

USER = "1000650000:0"
"""As OpenShift gives one to each project."""

RESTRICTED = (
    *("--user", USER, "--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop=all", "--security-opt=no-new-privileges"),
    # The servers listen on this machine's loopback; cgroups and their limits are not ours to change.
    *("--network=host", "--cgroups=disabled", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"),
)
STOP_SECONDS = 60


class Podman:
    """Podman with a store of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._global = (
            *("podman", "--root", str(directory / "store"), "--runroot", str(directory / "run")),
            *("--tmpdir", str(directory / "tmp"), "--cgroup-manager=cgroupfs", "--events-backend=none"),
        )

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run podman to its end."""
        return subprocess.run([*self._global, *arguments], capture_output=True, text=True, timeout=300)

    def load(self, layout: Path, name: str) -> str:
        """Load an image from an OCI layout; returns its id."""
        done = self("pull", "--quiet", f"oci:{layout}:{name}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, image: str, environment: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the image to its end."""
        return self(*self._arguments(image, environment, command))

    def _arguments(self, image: str, environment: Mapping[str, str], command: tuple[str, ...]) -> list[str]:
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        entry_point = [f"--entrypoint={json.dumps(command)}"] if command else []
        return ["run", "--rm", *RESTRICTED, *variables, *entry_point, image]

    @contextlib.contextmanager
    def container(
        self, image: str, environment: Mapping[str, str], *arguments: str, command: tuple[str, ...] = ()
    ) -> Iterator[Container]:
        """Run the image while the block runs: its own entry point with the arguments, or the command."""
        name = f"{Path(image).name[:12]}-{secrets.token_hex(4)}"
        run, *rest = self._arguments(image, environment, command)
        log = self._directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self._global, run, f"--name={name}", *rest, *arguments], stdout=output, stderr=output
            )
        container = Container(name, process, log, self)
        try:
            yield container
        finally:
            if process.poll() is None:
                self("kill", "--signal=KILL", name)
                process.wait(STOP_SECONDS)


class Container:
    """A running container."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, podman: Podman) -> None:
        self._name = name
        self._process = process
        self._log = log
        self._podman = podman

    @property
    def output(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def wait(self, ready: Callable[[], bool], *, seconds: float = 60) -> None:
        """Wait until `ready` says so."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as `kubectl exec` does."""
        return self._podman("exec", self._name, *command)

    def terminate(self) -> int:
        """Send SIGTERM to its first process, as a cluster does, and return the exit code."""
        assert self._podman("kill", "--signal=TERM", self._name).returncode == 0
        return self._process.wait(STOP_SECONDS)
