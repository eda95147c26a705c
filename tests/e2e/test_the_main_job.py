"""The whole system as a newcomer starts it: `ibutsu up`, uploads by the CLI, Flower, the schedule, Ctrl-C."""

from __future__ import annotations

import io
import itertools
import json
import re
import subprocess
import sys
import tarfile
import time
import uuid
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def system(start_system: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
    """A system of this module's own, which its last test ends."""
    with start_system() as system:
        yield system


def test_the_report_of_this_very_suite_is_imported_as_it_is(system: Any, tmp_path: Path) -> None:
    broken = tmp_path / "test_broken.py"
    broken.write_text(
        "import pytest\n\ndef test_fails():\n    value = 41\n    assert value == 42, 'wörld & <tag>'\n\n"
        "@pytest.fixture\ndef bad():\n    raise RuntimeError('no fixture')\n\ndef test_errs(bad):\n    pass\n\n"
        "@pytest.mark.skip(reason='not today')\ndef test_skipped():\n    pass\n\n"
        "@pytest.mark.xfail(reason='known')\ndef test_xfails():\n    assert 0\n\n"
        "@pytest.mark.parametrize('n', range(3))\ndef test_many(n):\n    print('out', n)\n"
    )
    report = tmp_path / "report.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}",
         "tests/core/test_retention.py", "tests/core/test_settings.py", str(broken)],
        cwd=ROOT, capture_output=True, timeout=240,
    )  # fmt: skip
    cases = list(ET.parse(report).iter("testcase"))
    words = {"failure": "failed", "error": "error", "skipped": "skipped"}

    def outcome(case: ET.Element) -> str:
        child = next((child for child in case if child.tag in words), None)
        if child is None:
            return "passed"
        return "xfailed" if child.get("type") == "pytest.xfail" else words[child.tag]

    expected = Counter(map(outcome, cases))
    assert set(expected) == {"passed", "failed", "error", "skipped", "xfailed"}

    done = system.ibutsu("import", str(report), "--project", "local", "--metadata", "component=core", "--source", "ci")
    assert done.returncode == 0, done.stdout + done.stderr
    run = system.get(f"/run/{system.run_of(done.stdout)}")
    counts = {
        "tests": len(cases), "failures": expected["failed"], "errors": expected["error"],
        "skips": expected["skipped"], "xfailures": expected["xfailed"], "passes": expected["passed"],
    }  # fmt: skip
    assert {key: run["summary"][key] for key in counts} == counts
    assert (run["source"], run["component"]) == ("ci", "core")
    assert str(len(cases)) in done.stdout

    results = system.get("/result", filter=f"run_id={run['id']}", pageSize=500)
    assert results["pagination"]["totalItems"] == len(cases)
    assert Counter(result["result"] for result in results["results"]) == expected
    modules = [case.get("classname", "").rpartition(".")[2] for case in cases]
    names = Counter(
        ".".join(filter(None, (module, case.get("name")))) for module, case in zip(modules, cases, strict=True)
    )
    assert Counter(result["test_id"] for result in results["results"]) == names

    failed = next(result for result in results["results"] if result["test_id"].endswith("test_fails"))
    (artifact,) = [
        entry
        for entry in system.get("/artifact", resultId=failed["id"])["artifacts"]
        if entry["filename"] == "traceback.log"
    ]
    answer = system.api.get(f"/artifact/{artifact['id']}/download")
    failure = next(case.find("failure") for case in cases if case.get("name") == "test_fails")
    assert failure is not None
    assert answer.content.decode() == failure.text
    assert "wörld & <tag>" in answer.content.decode()


def test_an_archive_is_imported_and_importing_it_again_doubles_nothing(system: Any, tmp_path: Path) -> None:
    run_id, result_id = str(uuid.uuid4()), str(uuid.uuid4())
    members = {
        f"{run_id}/run.json": {"id": run_id, "metadata": {"project": "local", "jenkins": {"n": 1}}},
        f"{run_id}/{result_id}/result.json": {
            "id": result_id, "test_id": "test_a", "result": "failed", "duration": 2.5,
            "start_time": "2026-02-03T04:05:06+00:00", "metadata": {"run": run_id}, "params": {"a": "1"},
        },
    }  # fmt: skip
    path = tmp_path / f"{run_id}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {**members, f"{run_id}/{result_id}/shot.png": b"\x89PNG\x00\xff"}.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for _ in range(2):
        done = system.ibutsu("import", str(path))
        assert done.returncode == 0, done.stdout + done.stderr
        assert system.run_of(done.stdout) == run_id
    run = system.get(f"/run/{run_id}")
    assert (run["summary"]["tests"], run["summary"]["failures"], run["duration"]) == (1, 1, 2.5)
    assert run["metadata"]["jenkins"] == {"n": 1}
    result = system.get(f"/result/{result_id}")
    assert (result["run_id"], result["params"], result["start_time"]) == (run_id, {"a": "1"}, "2026-02-03T04:05:06Z")
    (artifact,) = system.get("/artifact", resultId=result_id)["artifacts"]
    assert system.api.get(f"/artifact/{artifact['id']}/download").content == b"\x89PNG\x00\xff"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("truncated.xml", b"<testsuite><testcase name='a'/><testcase name='b'>"),
        ("text.xml", b"no XML at all"),
        ("no.tar.gz", b"not a gzip file"),
        ("wrong.txt", b"a log file"),
    ],
)
def test_a_broken_file_is_refused_with_a_sentence(system: Any, tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    before = system.get("/run")["pagination"]["totalItems"]
    done = system.ibutsu("import", str(path), "--project", "local")
    assert done.returncode == 1
    assert name in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert system.get("/run")["pagination"]["totalItems"] == before


def test_a_running_import_tells_how_far_it_is_and_a_done_one_is_complete(system: Any) -> None:
    case = '<testcase classname="shop.cart" name="test_total[{}]" time="0.5"/>'
    report = f"<testsuite>{''.join(map(case.format, range(80_000)))}</testsuite>".encode()
    form = {"data": {"project": "local"}, "files": {"importFile": ("large.xml", report)}}
    imported = system.api.post("/import", timeout=60, **form).json()
    seen = []
    while imported["status"] in ("pending", "running"):
        imported = system.get(f"/import/{imported['id']}")
        if imported["metadata"]["progress"]:
            seen.append(imported["metadata"]["progress"])
        time.sleep(0.02)
    # The summary is there in the same instant.
    assert system.get(f"/run/{imported['run_id']}")["summary"]["tests"] == 80_000
    assert seen, "It takes longer than the first telling."
    for earlier, later in itertools.pairwise(seen):
        assert earlier["results"] <= later["results"] <= 80_000
        assert earlier["bytes_read"] <= later["bytes_read"] <= later["bytes_total"] == len(report)
    assert seen[-1]["results"] > 0


def test_flower_shows_the_worker_and_the_tasks_to_who_has_the_password(
    system: Any, member: Any, tmp_path: Path
) -> None:
    report = tmp_path / "report.xml"
    report.write_text("<testsuite><testcase name='seen in Flower'/></testsuite>")
    imported = member.upload(report)
    url = system.printed("Flower")
    user, _, password = system.printed("Flower login").partition(" / ")
    with httpx.Client(base_url=url, timeout=60) as stranger:
        assert stranger.get("/api/workers").status_code == 401
        assert stranger.get("/api/tasks").status_code == 401
        assert stranger.get("/", auth=(user, "wrong")).status_code == 401
    with httpx.Client(base_url=url, auth=(user, password), timeout=60) as operator:
        workers = operator.get("/api/workers", params={"refresh": 1}).json()
        assert len(workers) == 1
        # The worker tells Flower of the end after the database has it.
        deadline = time.monotonic() + 60
        while (task := operator.get(f"/api/task/info/{imported['id']}")).status_code == 404 or (
            task.json()["state"] != "SUCCESS"
        ):
            assert time.monotonic() < deadline, task.text
            time.sleep(0.1)
        assert task.json()["name"] == "ibutsu_server.tasks.importers.import_results"
        (worker,) = workers
        for path in (
            f"/api/worker/shutdown/{worker}", "/api/task/send-task/ibutsu_server.tasks.runs.sync_aborted_runs",
        ):  # fmt: skip
            refused = operator.post(path, json={"args": []})
            assert (refused.status_code, "Read only" in refused.text) == (403, True), refused.text


def test_the_scheduler_says_its_schedule(system: Any) -> None:
    lines = [line for line in (system.data / "logs/scheduler.log").read_text().splitlines() if "beat_schedule" in line]
    assert len(lines) == 4
    for task, argument in (("prune_old_files", "3"), ("prune_old_results", "5"), ("prune_old_runs", "12")):
        (line,) = [line for line in lines if task in line]
        assert f"({argument})" in line
        assert "Saturday" in line
        assert re.search(r"next at \d{4}-\d\d-\d\dT0[456]:00:00\+00:00", line)
    assert any("sync_aborted_runs" in line and "30 minutes" in line for line in lines)


def test_the_worker_says_that_it_is_connected_and_nobody_says_a_secret(system: Any) -> None:
    logs = {path.name: path.read_text(errors="replace") for path in (system.data / "logs").glob("*.log")}
    assert "Connected to redis" in logs["worker.log"]
    secrets = [system.local["token"], system.printed("Flower login").rpartition(" ")[2]]
    secrets += re.findall(r"(?:PGPASSWORD|REDISCLI_AUTH)=(\S+)", system.output.read_text())
    assert len(secrets) == 4
    for name, text in logs.items():
        for secret in secrets:
            assert secret not in text, name


def test_a_second_start_says_that_one_runs(system: Any) -> None:
    done = system.ibutsu("up", "--data-dir", str(system.data))
    assert done.returncode != 0
    assert system.local["url"] in done.stdout + done.stderr


def test_ctrl_c_leaves_no_process(system: Any) -> None:
    """The last of this module: it ends the system that the others use."""
    assert len(system.children) >= 6
    system.interrupt()
