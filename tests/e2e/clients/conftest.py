"""The public clients, unchanged from PyPI, in an environment of their own."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent.parent
SUITE = Path(__file__).with_name("suite")

Row = dict[str, Any]
Stored = tuple[Row, list[Row], Counter[tuple[str, str, bytes]]]
"""A run, its results, and its artifacts: the owner's id, the name and the bytes."""


@pytest.fixture(scope="session")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the clients in their locked versions, and nothing of ours."""
    python = tmp_path_factory.mktemp("clients") / "venv/bin/python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(python.parent.parent)], check=True)
    install = [*uv, "pip", "install", "--python", str(python), "--require-hashes"]
    subprocess.run([*install, "--requirement", str(ROOT / "requirements/clients.txt")], check=True)
    return python


@pytest.fixture(scope="session")
def run_client(client_python: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the clients' interpreter with no setting of ours in its environment."""

    def run(
        *arguments: str, cwd: Path | None = None, code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [str(client_python), *arguments], cwd=cwd, env=plain_environment() | environment,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran

    return run


def plain_environment() -> dict[str, str]:
    """Return this process's environment without what changes an interpreter, pytest or the plugin."""
    ours = ("PYTHON", "IBUTSU", "PYTEST")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


class Reporter:
    """Runs pytest with the plugin, as a CI job would, on `suite/` or on other tests."""

    def __init__(self, member: Any, directory: Path, python: Path, run_client: Callable[..., Any]) -> None:
        self._member = member
        self._directory = directory
        self._python = python
        self._run_client = run_client

    def __call__(
        self, *arguments: str, tests: str | None = None, mode: str | None = None, code: int = 1, **environment: str
    ) -> Session:
        """Run the tests to their end; send to the server unless `mode` says otherwise."""
        command = self._prepared(tests, mode or self._member.url, arguments)
        ran = self._run_client(*command, cwd=self._directory, code=code, **environment)
        return Session(self._member, self._directory, ran.stdout)

    def start(self, *arguments: str, tests: str) -> subprocess.Popen[bytes]:
        """Start to run the tests."""
        command = [str(self._python), *self._prepared(tests, self._member.url, arguments)]
        return subprocess.Popen(command, cwd=self._directory, env=plain_environment(), stdout=subprocess.DEVNULL)

    def _prepared(self, tests: str | None, mode: str, arguments: tuple[str, ...]) -> list[str]:
        for path in SUITE.iterdir():
            (self._directory / path.name.removesuffix(".txt")).write_text(path.read_text())
        if tests is not None:
            (self._directory / "test_suite.py").write_text(tests)
        member = self._member
        plugin = [f"--ibutsu={mode}", f"--ibutsu-token={member.token}", f"--ibutsu-project={member.project}"]
        return ["-m", "pytest", "-p", "no:cacheprovider", *plugin, *arguments]


@pytest.fixture
def report(member: Any, client_python: Path, run_client: Callable[..., Any], tmp_path: Path) -> Reporter:
    """What runs pytest with the plugin in a directory of its own."""
    return Reporter(member, tmp_path, client_python, run_client)


class Session:
    """A session of pytest with the plugin, that has ended: what it printed and wrote, and what the server has of it."""

    def __init__(self, member: Any, directory: Path, output: str) -> None:
        self.member = member
        self.output = output
        # The last is true: with xdist, the header has another than the run.
        self.run_id = re.findall(r"(?:run ID: |Archive created: |/runs/)([0-9a-f-]{36})", output)[-1]
        self.archive = directory / f"{self.run_id}.tar.gz"

    def assert_sent(self) -> None:
        """Check that nothing of the upload failed, and that the address that the plugin printed is a page."""
        address = f"/project/{self.member.project_id}/runs/{self.run_id}"
        match = re.search(rf"Results uploaded to: (\S+{address})\n", self.output)
        assert match, self.output
        assert httpx.get(match[1], timeout=60).status_code == 200

    def written(self) -> Stored:
        """Return what the plugin's archive says, which it writes in server mode too."""
        files: dict[tuple[str, ...], bytes] = {}
        with tarfile.open(self.archive) as tar:
            for entry in tar.getmembers():
                if (file := tar.extractfile(entry)) is not None:
                    files[tuple(entry.name.split("/"))] = file.read()
        results = [json.loads(data) for name, data in files.items() if name[-1] == "result.json"]
        run = json.loads(files[self.run_id, "run.json"])
        own = ("run.json", "result.json")
        return run, results, Counter((name[-2], name[-1], data) for name, data in files.items() if name[-1] not in own)

    def stored(self) -> Stored:
        """Return what the server has."""
        run = self.member.get(f"/run/{self.run_id}")
        results = self.member.get("/result", filter=f"run_id={self.run_id}", pageSize=500)["results"]
        artifacts: Counter[tuple[str, str, bytes]] = Counter()
        for owner in ({"runId": self.run_id}, *({"resultId": result["id"]} for result in results)):
            for one in self.member.get("/artifact", **owner)["artifacts"]:
                content = self.member.api.get(f"/artifact/{one['id']}/download").content
                artifacts[one["result_id"] or one["run_id"], one["filename"], content] += 1
        return run, results, artifacts

    def assert_stored_as_written(self) -> None:
        """Compare what the server has with the plugin's own archive, row for row."""
        run, results, artifacts = self.written()
        stored_run, stored_results, stored_artifacts = self.stored()
        at = {row["id"]: row | {"start_time": _instant(row)} for row in stored_results}
        for row in results:
            assert at[row["id"]] == self._expected(row), row["test_id"]
        assert len(stored_results) == len(results)
        assert stored_artifacts == artifacts
        assert stored_run["metadata"] == _storable(run)["metadata"]
        assert _instant(stored_run) == _instant(run)
        assert (stored_run["source"], stored_run["project_id"]) == (run["source"], self.member.project_id)
        assert_true_summary(stored_run, stored_results)
        # The sum, or what the plugin measured: the contract takes either.
        assert stored_run["duration"] in (pytest.approx(sum(row["duration"] for row in results)), run["duration"])

    def _expected(self, written: Row) -> Row:
        """Return what the contract makes of a result."""
        row = _storable(written)
        metadata = row["metadata"]
        row["metadata"] = metadata.pop("user_properties", {}) | metadata
        row |= {name: metadata.get(name, row[name]) for name in ("component", "env")}
        return row | {"project_id": self.member.project_id, "start_time": _instant(row)}


def assert_true_summary(run: Row, results: list[Row]) -> None:
    """Check the counts of a run by its results."""
    count = Counter(result["result"] for result in results)
    names = {"failures": "failed", "errors": "error", "skips": "skipped", "xfailures": "xfailed", "xpasses": "xpassed"}
    expected = {name: count[word] for name, word in names.items()}
    expected |= {"tests": len(results), "passes": count["passed"]}
    assert {name: run["summary"][name] for name in expected} == expected


def _storable(row: Row) -> Row:
    """Return the row with U+FFFD for what no database can hold."""
    cleaned: Row = json.loads(re.sub(r"\\u0000|\\ud8\w\w(?!\\ud[c-f])", r"\\ufffd", json.dumps(row)))
    return cleaned


def _instant(row: Row) -> dt.datetime:
    return dt.datetime.fromisoformat(row["start_time"])
