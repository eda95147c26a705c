"""The whole system, running: what `ibutsu up` starts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

START_SECONDS = 120
STOP_SECONDS = 30
IMPORT_SECONDS = 120


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
        self.api = httpx.Client()

    def wait(self) -> None:
        """Wait until the final table is printed, and note all processes."""
        deadline = time.monotonic() + START_SECONDS
        while "Stop " not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.2)
        self.local = json.loads((self.data / "local.json").read_text())
        self.children = psutil.Process(self.process.pid).children(recursive=True)
        self.api.base_url = f"{self.local['url']}/api"
        self.api.headers["Authorization"] = f"Bearer {self.local['token']}"

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

    def stop(self) -> None:
        """Press Ctrl-C, and wait for the end."""
        self.api.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_SECONDS)

    def interrupt(self) -> None:
        """Press Ctrl-C, and see that nothing is left."""
        self.stop()
        assert self.process.returncode == 0, self.output.read_text()
        _gone, alive = psutil.wait_procs(self.children, timeout=2)
        assert not alive

    @contextlib.contextmanager
    def member(self) -> Iterator[Member]:
        """Make a user who is no superadmin, and a project of which the user is a member."""
        name = f"project-{secrets.token_hex(4)}"
        email, password = f"{name}@example.com", secrets.token_hex(8)
        project = self.post("/project", {"name": name})
        self.post("/admin/user", {"email": email, "password": password, "is_active": True})
        assert self.api.put(f"/project/{project['id']}", json={"users": [email]}).status_code == 200
        token = self.post("/login", {"email": email, "password": password}, status=200)["token"]
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=self.api.base_url, headers=headers, timeout=60) as api:
            yield Member(url=self.local["url"], token=token, project=name, project_id=project["id"], api=api)

    def post(self, path: str, body: dict[str, Any], *, status: int = 201) -> Any:
        """Send JSON to the API."""
        answer = self.api.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def run_task(self, task: str) -> None:
        """Have a worker run the task, as an administrator does."""
        body = {"token": self.local["token"], "task": task, "params": {}}
        assert httpx.post(f"{self.local['url']}/admin/run-task", json=body).status_code == 202


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """A user of a running system, with a project; `api` is a client with the user's token."""

    url: str
    token: str
    project: str
    project_id: str
    api: httpx.Client

    def get(self, path: str, **parameters: Any) -> Any:
        """Ask the API."""
        answer = self.api.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, path: Path) -> Any:
        """Import a file, wait for the end, and return the import."""
        with path.open("rb") as file:
            answer = self.api.post("/import", files={"importFile": (path.name, file)})
        assert answer.status_code == 201, answer.text
        return self.imported(answer.json()["id"])

    def imported(self, import_id: str) -> Any:
        """Wait for the end of an import, and return it."""
        deadline = time.monotonic() + IMPORT_SECONDS
        while (row := self.get(f"/import/{import_id}"))["status"] in ("pending", "running"):
            assert time.monotonic() < deadline, row
            time.sleep(0.05)
        return row


@pytest.fixture(scope="session")
def start_system(server_directory: Path) -> Callable[[], contextlib.AbstractContextManager[System]]:
    """A function that starts a system; its data is where the CLI looks for a local server."""

    @contextlib.contextmanager
    def start() -> Iterator[System]:
        directory = Path(tempfile.mkdtemp(prefix="e2e-", dir=server_directory))
        directory.chmod(0o755)
        system = System(directory)
        try:
            system.wait()
            (directory / ".ibutsu").symlink_to(system.data)
            yield system
        finally:
            system.stop()

    return start


@pytest.fixture(scope="session")
def system(start_system: Callable[[], contextlib.AbstractContextManager[System]]) -> Iterator[System]:
    """The running system that the tests share; none of them may end it."""
    with start_system() as system:
        yield system


@pytest.fixture
def member(system: System) -> Iterator[Member]:
    """A user who is no superadmin, with an empty project."""
    with system.member() as member:
        yield member
