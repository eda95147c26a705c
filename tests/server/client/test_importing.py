"""`ibutsu import`, from the shell's side: a real API, a real worker, and everything that can be wrong."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.local import LocalAccess, ensure_local_access
from ibutsu_server.store.models import Import as ImportRow
from ibutsu_server.store.models import UploadChunk

JUNIT = """<testsuites><testsuite name="suite" tests="4">
<testcase classname="shop.Cart" name="adds" time="0.25"/>
<testcase classname="shop.Cart" name="removes" time="0.25"><failure message="no">Traceback: 1 != 2</failure></testcase>
<testcase classname="shop.Cart" name="waits"><skipped message="slow"/></testcase>
<testcase classname="shop.Cart" name="pays" time="1.5"/>
</testsuite></testsuites>"""

Import = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def access(database: DatabaseSettings) -> LocalAccess:
    return ensure_local_access(database, email="admin@example.com", password="secret")


@pytest.fixture
def server(gunicorn: tuple[str, int], access: LocalAccess, tmp_path: Path) -> str:
    """A running API, known to who works below `tmp_path` as `ibutsu up` would make it known; its URL."""
    url = f"http://{gunicorn[0]}"
    local = {"url": url, "token": access.token, "project": access.project, "pid": 1}
    (tmp_path / ".ibutsu").mkdir()
    (tmp_path / ".ibutsu" / "local.json").write_text(json.dumps(local))
    return url


@pytest.fixture
def worker(server: str, environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "--app", "ibutsu_server:worker_app", "worker", "--pool", "solo"]
    with (tmp_path / "worker.log").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        yield
        process.send_signal(signal.SIGQUIT)
        process.wait(60)


@pytest.fixture
def run_import(tmp_path: Path) -> Import:
    """Run the command in a directory below `tmp_path`, as a shell would."""
    directory = tmp_path / "work" / "deeper"
    directory.mkdir(parents=True)

    return command_in(directory, "import")


@pytest.fixture
def run_imports(run_import: Import, tmp_path: Path) -> Import:
    """Run `ibutsu imports` there too."""
    return command_in(tmp_path / "work" / "deeper", "imports")


def command_in(directory: Path, command: str) -> Import:
    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("IBUTSU_")}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "ibutsu_server.cli", command, *map(str, arguments)],
            cwd=directory, env=environment | variables, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report [1].xml"
    path.write_text(JUNIT)
    return path


@pytest.mark.usefixtures("worker")
def test_a_report_becomes_a_run_that_is_shown(
    server: str, access: LocalAccess, run_import: Import, report: Path
) -> None:
    done = run_import(report, "--metadata", "jenkins.build_number=7", "--metadata", "note=a=b", "--source", "ci")
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(re.findall(r"^  (\w+) +(\S+)", done.stdout, re.MULTILINE))
    assert "report [1].xml: imported" in done.stdout
    assert {name: shown[name] for name in ("tests", "passes", "failures", "skips", "duration")} == {
        "tests": "4", "passes": "2", "failures": "1", "skips": "1", "duration": "2.00"
    }  # fmt: skip
    found = re.search(rf"{server}/project/([0-9a-f-]+)/runs/([0-9a-f-]+)", done.stdout)
    assert found is not None
    headers = {"Authorization": f"Bearer {access.token}"}
    run = httpx.get(f"{server}/api/run/{found.group(2)}", headers=headers, timeout=60).json()
    assert run["project_id"] == found.group(1)
    assert run["source"] == "ci"
    assert run["metadata"]["jenkins"] == {"build_number": "7"}
    assert run["metadata"]["note"] == "a=b"


@pytest.mark.usefixtures("worker")
def test_one_bad_file_does_not_keep_back_the_others(
    server: str, run_import: Import, report: Path, tmp_path: Path
) -> None:
    bad = {"broken.xml": "<testsuite><testcase", "none.tar.gz": "no archive", "notes.txt": "hello"}
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "empty.xml").touch()
    run_id = str(uuid.uuid4())
    (tmp_path / "run.json").write_text(json.dumps({"id": run_id, "metadata": {"project": "local"}}))
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "run.json", f"{run_id}/run.json")
    paths = [tmp_path / name for name in (*bad, "empty.xml", "missing.xml", "", "good.tar.gz")]
    done = run_import(*paths, report)
    assert done.returncode == 1
    reasons = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert reasons.keys() == {str(path) for path in paths[:-1]}
    assert reasons[str(tmp_path / "empty.xml")] == "It is empty."
    assert reasons[str(tmp_path / "missing.xml")] == "There is no such file."
    assert "directory" in reasons[str(tmp_path)]
    for name in bad:
        assert name in reasons[str(tmp_path / name)]
    assert f"/runs/{run_id}" in done.stdout
    assert "report [1].xml: imported" in done.stdout


@pytest.mark.usefixtures("worker")
def test_the_same_file_again_shows_the_same_run_unless_forced(server: str, run_import: Import, report: Path) -> None:
    def run_of(done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, done.stderr
        found = re.search(r"/runs/([0-9a-f-]+)", done.stdout)
        assert found is not None
        return found.group(1)

    first, again, forced = run_import(report), run_import(report), run_import(report, "--force")
    assert run_of(first) == run_of(again) != run_of(forced)
    assert "uploaded before" in again.stderr
    assert (first.stderr, forced.stderr) == ("", "")


@pytest.mark.usefixtures("worker", "server")
def test_failed_imports_are_listed_and_tried_again(
    run_import: Import, run_imports: Import, report: Path, tmp_path: Path, database: DatabaseSettings
) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text("<testsuite><testcase")
    assert run_import(report, broken).returncode == 1
    failed = run_imports("list", "--status", "error").stdout.splitlines()
    assert len(failed) == 1
    import_id, status, filename, _created, reason = failed[0].split("\t")
    assert (status, filename) == ("error", "broken.xml")
    assert reason.startswith("broken.xml, line 1: ")
    assert len(run_imports("list").stdout.splitlines()) == 2
    again = run_imports("retry", import_id)
    assert again.returncode == 1
    assert again.stderr.strip() == f"broken.xml: {reason}"
    # What was wrong is mended on the server: here, by the bytes.
    engine = create_engine(database, application="tests")
    with Session(engine) as session:
        session.execute(sa.update(UploadChunk).values(data=JUNIT.encode()))
        session.execute(sa.update(ImportRow).where(ImportRow.status == "error").values(size=len(JUNIT)))
        session.commit()
    engine.dispose()
    mended = run_imports("retry", import_id)
    assert mended.returncode == 0, mended.stderr
    assert "broken.xml: imported" in mended.stdout
    assert re.search(r"tests +4", mended.stdout)
    assert "done, not failed" in run_imports("retry", import_id).stderr
    assert "not the id" in run_imports("retry", "x").stderr
    assert run_imports("retry", str(uuid.uuid4())).returncode == 1


def test_options_win_over_the_environment_and_it_over_the_local_system(
    server: str, access: LocalAccess, run_import: Import, report: Path, tmp_path: Path
) -> None:
    refused = run_import(report, IBUTSU_URL="http://127.0.0.1:1", IBUTSU_TOKEN="x.y.z")
    assert refused.returncode == 1
    assert "http://127.0.0.1:1" in refused.stderr
    assert "IBUTSU_URL" in refused.stderr
    # The local system's token is for its own URL only.
    other = run_import(report, "--url", "http://127.0.0.1:1")
    assert "no token for http://127.0.0.1:1" in other.stderr
    unknown = run_import(report, "--project", "nothing", "--url", f"{server}/api/", "--token", access.token,
                         IBUTSU_URL="http://127.0.0.1:1", IBUTSU_TOKEN="x.y.z")  # fmt: skip
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "There is no project 'nothing'." in unknown.stderr
    wrong = run_import(report, "--token", "x.y.z")
    assert f"{server} does not accept the token" in wrong.stderr


def test_without_any_server_it_is_said_how_to_start_one(run_import: Import, report: Path, tmp_path: Path) -> None:
    done = run_import(report)
    assert done.returncode == 1
    assert "ibutsu up" in done.stderr
    (tmp_path / ".ibutsu").mkdir()
    (tmp_path / ".ibutsu" / "local.json").write_text("{")
    assert "local.json" in run_import(report).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metadata", "nothing"), "KEY=VALUE"),
        (("--metadata", "a..b=1"), "KEY=VALUE"),
        (("--metadata", "a=1", "--metadata", "a.b=2"), "nests in a key"),
        (("--metadata", "a.b=1", "--metadata", "a=2"), "given twice"),
        (("--url", "ftp://x", "--token", "t"), "not a URL"),
        (("--url", "http://x:port", "--token", "t"), "not a URL"),
        (("--url", "http://127.0.0.1:1", "--token", "a b"), "no token has"),
    ],
)
def test_wrong_options_are_explained(run_import: Import, report: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run_import(report, *arguments)
    assert done.returncode in (1, 2)
    assert said in re.sub(r"\s+", " ", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.fixture
def strange_server() -> Iterator[Callable[[int, str], str]]:
    """Start a server that knows everybody and answers any upload as told; gives its URL."""
    servers = []

    def start(status: int, body: str) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status: int, body: str) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_GET(self) -> None:
                self.answer(200, json.dumps({"frontend": "http://x"}))

            def do_POST(self) -> None:
                self.answer(status, body)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, '{"detail": "You are not a member of the project."}', "not a member"),
        (413, "<html>too large</html>", "takes no upload of this size"),
        (500, '{"detail": "The server failed; its log says why."}', "failed (500)"),
        (503, "", "cannot answer at the moment (503)"),
        (200, "<html>", "is not Ibutsu's API"),
        (404, "<html>", "is not Ibutsu's API"),
    ],
)
def test_what_a_server_answers_is_explained(
    strange_server: Callable[[int, str], str], run_import: Import, report: Path, *, status: int, body: str, said: str
) -> None:
    url = strange_server(status, body)
    done = run_import(report, IBUTSU_URL=url, IBUTSU_TOKEN="x")
    assert done.returncode == 1
    assert said in done.stderr
    assert said == "not a member" or url in done.stderr
    assert "Traceback" not in done.stderr
