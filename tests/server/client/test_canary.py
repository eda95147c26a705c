"""`ibutsu canary`, from the shell's side: a real API, a real worker, and what can go wrong on the way."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.client.access import Server
from ibutsu_server.client.flight import Flight, Leg
from ibutsu_server.client.server import Client
from ibutsu_server.store import accounts, local, projects
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Artifact, Import, ProjectMember, Result, Run, UploadChunk

LEGS = ["upload", "queue", "import", "result", "artifact", "removal"]


class Canary:
    """The command, as the owner of the project `local` sends it; `left` is how many rows there are after it."""

    def __init__(self, url: str, database: DatabaseSettings) -> None:
        self.url = url
        self.access = local.ensure_local_access(database, email="admin@example.com", password="secret")
        self._environment = {**os.environ, "IBUTSU_URL": url, "IBUTSU_TOKEN": self.access.token}
        self._engine = create_engine(database, application="tests")

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-W", "error", "-m", "ibutsu_server.cli", "canary", *arguments]
        environment = self._environment | variables
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        with self.start("--project", "local", *arguments, **variables) as process:
            stdout, stderr = process.communicate(timeout=120)
        assert self.access.token not in stdout + stderr
        return subprocess.CompletedProcess([], process.returncode, stdout, stderr)

    def left(self) -> int:
        models = (Run, Result, Artifact, Import, UploadChunk)
        with Session(self._engine) as session:
            return sum(session.scalar(sa.select(sa.func.count()).select_from(model)) or 0 for model in models)

    def member(self) -> str:
        """Return the token of a member of the project who does not own it."""
        with Session(self._engine) as session, session.begin():
            user = accounts.ensure_user(session, email="ann@example.com", password="secret")
            project = projects.find(session, "local")
            assert project is not None
            session.add(ProjectMember(project_id=project.id, user_id=user.id))
            return accounts.create_token(session, user, name="test")


@pytest.fixture
def canary(gunicorn: tuple[str, int], database: DatabaseSettings) -> Canary:
    return Canary(f"http://{gunicorn[0]}", database)


@pytest.fixture
def start_worker(
    environment: dict[str, str], tmp_path: Path
) -> Callable[..., contextlib.AbstractContextManager[object]]:
    @contextlib.contextmanager
    def start(**variables: str) -> Iterator[None]:
        command = [sys.executable, "-m", "celery", "--app", "ibutsu_server:worker_app", "worker", "--pool", "solo"]
        with (tmp_path / "worker.log").open("wb") as output:
            process = subprocess.Popen(command, env=environment | variables, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(60)

    return start


Worker = Callable[..., contextlib.AbstractContextManager[object]]


def test_the_report_comes_through_each_leg_is_told_and_nothing_is_left(canary: Canary, start_worker: Worker) -> None:
    with start_worker():
        flown = canary.run()
        told = json.loads(canary.run("--json").stdout)
        refused = canary.run(IBUTSU_TOKEN=canary.member())
        assert (flown.returncode, flown.stderr) == (0, "")
        assert [line.split()[0] for line in flown.stdout.splitlines()] == [*LEGS, "The"]
        assert list(told) == ["status", "failed_leg", "message", "seconds", "run_id", "import_id", "legs"]
        assert (told["status"], [leg["leg"] for leg in told["legs"]]) == ("ok", LEGS)
        # Who may not delete runs is told what stays, with its id.
        assert refused.returncode == 1
        assert "The canary failed at `removal`" in refused.stderr
        assert "is left behind" in refused.stderr
        assert "Only the project's owner can do this." in refused.stderr
    # A run, its result and its artifact.
    assert canary.left() == 3


def test_without_a_worker_it_fails_at_the_queue_and_takes_the_upload_back(canary: Canary) -> None:
    flown = canary.run("--timeout", "5")
    assert flown.returncode == 1
    assert (
        "The canary failed at `queue` (a worker took the task): The time is up, and no worker took it" in flown.stderr
    )
    assert canary.left() == 0
    told = json.loads(canary.run("--timeout", "5", "--json").stdout)
    assert (told["status"], told["failed_leg"], told["legs"][-1]["leg"]) == ("failure", "queue", "removal")
    assert canary.left() == 0


@pytest.mark.slow
def test_an_import_that_fails_says_why_and_is_removed(canary: Canary, start_worker: Worker) -> None:
    with start_worker(IBUTSU_IMPORT_MAX_MEMBERS="1"):
        flown = canary.run()
    assert flown.returncode == 1
    assert "The canary failed at `import` (the worker imported the report)" in flown.stderr
    assert "IBUTSU_IMPORT_MAX_MEMBERS" in flown.stderr
    assert canary.left() == 0


class Forgetful(http.server.BaseHTTPRequestHandler):
    """Passes requests on to `upstream`, and hangs up on who uploads once the upload is stored."""

    upstream = ""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sent = {name: text for name, text in self.headers.items() if name in ("Authorization", "Content-Type")}
        answer = httpx.request(self.command, self.upstream + self.path, content=body, headers=sent, timeout=60)
        if self.command == "POST":
            assert answer.status_code == 201
            return
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_upload_whose_answer_was_lost_is_found_and_removed(
    canary: Canary, gunicorn: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forgetful, "upstream", f"http://{gunicorn[0]}")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        told = json.loads(canary.run("--json", "--url", f"http://127.0.0.1:{proxy.server_port}").stdout)
        proxy.shutdown()
    assert told["failed_leg"] == "upload"
    assert told["import_id"]
    assert told["legs"][-1] == {"leg": "removal", "seconds": told["legs"][-1]["seconds"], "error": None}
    assert canary.left() == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(canary: Canary, how: signal.Signals) -> None:
    with canary.start("--project", "local") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("upload")
        process.send_signal(how)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "The canary failed at `queue` (a worker took the task): It was interrupted." in stderr
    assert canary.left() == 0


def test_interrupted_between_two_legs_the_next_one_says_so(canary: Canary) -> None:
    def tell(leg: Leg) -> None:
        if leg.name == "upload":
            raise KeyboardInterrupt

    server = Server(url=canary.url, token=canary.access.token, project=None, origin="")
    with Client(server) as client:
        flight = Flight(client, "local", time.monotonic() + 60)
        flight.fly(tell)
    assert flight.stopped
    assert [(leg.name, leg.error) for leg in flight.done[1:]] == [("queue", "It was interrupted."), ("removal", None)]
    assert canary.left() == 0


def test_a_server_that_is_away_or_refuses_the_token_is_told(canary: Canary) -> None:
    away = canary.run("--url", "http://127.0.0.1:9", "--timeout", "5")
    assert (away.returncode, "Cannot connect to http://127.0.0.1:9" in away.stderr) == (1, True)
    refused = canary.run(IBUTSU_TOKEN="x.y.z")
    assert (refused.returncode, "does not accept the token" in refused.stderr) == (1, True)
    assert canary.left() == 0
