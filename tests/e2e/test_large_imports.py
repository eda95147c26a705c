"""Imports of many tests by the whole system, a worker that is killed among them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import psutil
import pytest


@pytest.mark.slow
def test_five_thousand_tests_are_imported_correctly(system: Any, tmp_path: Path) -> None:
    path = tmp_path / "many.xml"
    cases = "".join(
        f'<testcase classname="pkg.mod{n % 50}" name="test_{n}" time="0.01">'
        + (f"<failure message='m'>Traceback {n}</failure>" if n % 10 == 0 else "")
        + "</testcase>"
        for n in range(5000)
    )
    path.write_text(f"<testsuites><testsuite name='s' tests='5000'>{cases}</testsuite></testsuites>")
    done = system.ibutsu("import", str(path), "--project", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    run = system.get(f"/run/{system.run_of(done.stdout)}")
    assert (run["summary"]["tests"], run["summary"]["failures"], run["summary"]["passes"]) == (5000, 500, 4500)
    assert run["duration"] == pytest.approx(50.0)


@pytest.mark.slow
def test_an_import_whose_worker_was_killed_is_there_once_and_whole(system: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.xml"
    cases = "".join(f'<testcase classname="m" name="test_{n}" time="0.01"/>' for n in range(150_000))
    path.write_text(f"<testsuite name='large'>{cases}</testsuite>")
    with path.open("rb") as file:
        row = system.api.post("/import", files={"importFile": (path.name, file)}, data={"project": "local"}).json()

    def wait_for(status: str, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while (found := system.get(f"/import/{row['id']}"))["status"] != status:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found

    wait_for("running", 120)
    children = psutil.Process(system.process.pid).children()
    (worker,) = [child for child in children if "ibutsu_server:worker_app" in child.cmdline()]
    killed = [*worker.children(recursive=True), worker]
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    done = wait_for("done", 150)
    run = system.get(f"/run/{done['run_id']}")
    assert run["summary"]["tests"] == run["summary"]["passes"] == 150_000
    results = system.get("/result", filter=f"run_id={run['id']}", pageSize=1)
    assert results["pagination"]["totalItems"] == 150_000
