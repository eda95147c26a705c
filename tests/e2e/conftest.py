"""The whole system, running: what `ibutsu up` starts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

START_SECONDS = 120
STOP_SECONDS = 30


class System:
    """A running `ibutsu up`, and what it printed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.output = directory / "output"
        environment = {name: value for name, value in os.environ.items() if "POSTGRESQL" not in name}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ibutsu_server.cli", "up", "--data-dir", str(self.data), "--no-sample"],
                cwd=directory, env={**environment, "NO_COLOR": "1"}, stdout=output, stderr=output,
            )  # fmt: skip
        self.children: list[psutil.Process] = []

    def wait(self) -> None:
        """Wait until the final table is printed, and note all processes."""
        deadline = time.monotonic() + START_SECONDS
        while "Stop " not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.2)
        self.local = json.loads((self.data / "local.json").read_text())
        self.children = psutil.Process(self.process.pid).children(recursive=True)
        self.api = httpx.Client(
            base_url=f"{self.local['url']}/api", headers={"Authorization": f"Bearer {self.local['token']}"}
        )

    def printed(self, label: str) -> str:
        """Return what the final table says after the label."""
        match = re.search(rf"^{label} +(.+?) *$", self.output.read_text(), re.MULTILINE)
        assert match, label
        return match[1]

    def ibutsu(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the CLI as a user would, who gives neither URL nor token."""
        environment = {**os.environ, "COLUMNS": "200"}
        environment.pop("IBUTSU_URL", None)
        environment.pop("IBUTSU_TOKEN", None)
        return subprocess.run(
            [sys.executable, "-m", "ibutsu_server.cli", *arguments],
            cwd=self.data.parent, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def get(self, path: str, **parameters: Any) -> Any:
        """Ask the API."""
        answer = self.api.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run_of(self, output: str) -> str:
        """Return the run's id from the URL that the CLI printed."""
        match = re.search(r"/runs/([0-9a-f-]{36})", output)
        assert match, output
        return match[1]

    def interrupt(self) -> None:
        """Press Ctrl-C, and see that nothing is left."""
        self.api.close()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(STOP_SECONDS) == 0, self.output.read_text()
        _gone, alive = psutil.wait_procs(self.children, timeout=2)
        assert not alive


@pytest.fixture(scope="module")
def system(server_directory: Path) -> Iterator[System]:
    """The running system; its data is where the CLI looks for a local server."""
    directory = Path(tempfile.mkdtemp(prefix="e2e-", dir=server_directory))
    directory.chmod(0o755)
    system = System(directory)
    system.data = directory / "data"
    try:
        system.wait()
        (directory / ".ibutsu").symlink_to(system.data)
        yield system
    finally:
        system.api.close()
        if system.process.poll() is None:
            system.process.send_signal(signal.SIGINT)
            system.process.wait(STOP_SECONDS)
