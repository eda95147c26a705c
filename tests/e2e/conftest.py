"""The whole system, running: what `ibutsu up` starts; who uses it, and a browser."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
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
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.wait import WebDriverWait

START_SECONDS = 120
STOP_SECONDS = 120
IMPORT_SECONDS = 120
PAGE_SECONDS = 60


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
        self.api = httpx.Client(timeout=60)

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
        _gone, alive = psutil.wait_procs(self.children, timeout=30)
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
        assert httpx.post(f"{self.local['url']}/admin/run-task", json=body, timeout=60).status_code == 202


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
        """Import a file into the project, wait for the end, and return the import."""
        with path.open("rb") as file:
            files = {"importFile": (path.name, file)}
            answer = self.api.post("/import", files=files, data={"project": self.project})
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


class Browser:
    """A headless Chromium that reaches nothing but this machine, and what its pages did."""

    def __init__(self, chromium: str, driver: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (
            "--headless=new",
            "--no-sandbox",  # root has none, and the pages are our own
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--window-size=1400,1000",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    def find(self, selector: str) -> WebElement:
        """Wait until the page shows an element, and return the first."""
        wait = WebDriverWait(self.driver, PAGE_SECONDS, ignored_exceptions=[StaleElementReferenceException])
        found: WebElement = wait.until(expected_conditions.visibility_of_element_located(("css selector", selector)))
        return found

    def text(self, selector: str, *parts: str) -> str:
        """Wait until the first such element has all the parts in its text, and return that."""

        def found(driver: Any) -> str | None:
            text: str = driver.find_element("css selector", selector).text
            return text if all(part in text for part in parts) else None

        ignored = [StaleElementReferenceException, NoSuchElementException]
        text: str = WebDriverWait(self.driver, PAGE_SECONDS, ignored_exceptions=ignored).until(found, f"{parts}")
        return text

    def find_all(self, selector: str) -> list[WebElement]:
        """Return all such elements that the page has now."""
        found: list[WebElement] = self.driver.find_elements("css selector", selector)
        return found

    def click(self, selector: str) -> None:
        """Click what the page shows, when it is there."""
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def requests(self) -> set[str]:
        """Return the addresses that the pages have asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        sockets = [one["params"] for one in messages if one["method"] == "Network.webSocketCreated"]
        addresses = {one["request"]["url"] for one in sent} | {one["url"] for one in sockets}
        return {address for address in addresses if not address.startswith(("data:", "blob:"))}

    def errors(self) -> list[str]:
        """Return what the pages have complained of on the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser of the system's own packages; the test is skipped where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("There are no chromium and chromedriver on PATH; Debian has them as chromium and chromium-driver.")
    browser = Browser(chromium, driver)
    yield browser
    browser.driver.quit()
