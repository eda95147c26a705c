"""The public plugin, unchanged from PyPI, in an environment of its own: its archives are imported as it wrote them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parent.parent.parent

SUITE = """
import pytest

def test_passes():
    pass

def test_fails():
    assert 1 == 2, "wörld"

@pytest.mark.skip(reason="not today")
def test_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_xfails():
    assert 0

@pytest.fixture
def bad():
    raise RuntimeError("no fixture")

def test_errs(bad):
    pass

@pytest.mark.parametrize("ratio", [1.5, 2.25])
def test_ratio(ratio, record_property):
    record_property("ratio", ratio)
"""


@pytest.fixture(scope="module")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the locked clients."""
    directory = tmp_path_factory.mktemp("clients") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = directory / "bin/python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements/clients.txt"]
    subprocess.run(command, cwd=ROOT, check=True)
    return python


@pytest.mark.slow
def test_an_archive_of_pytest_ibutsu_is_imported_as_it_was_written(
    system: Any, client_python: Path, tmp_path: Path
) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [str(client_python), "-m", "pytest", "-q", "--ibutsu=archive", "--ibutsu-project=local", "test_suite.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    archives = list(tmp_path.glob("*.tar.gz"))
    assert len(archives) == 1, ran.stdout + ran.stderr
    with tarfile.open(archives[0]) as tar:
        written = [name for name in tar.getnames() if name.endswith("result.json")]
    done = system.ibutsu("import", str(archives[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    run = system.get(f"/run/{system.run_of(done.stdout)}")
    assert archives[0].name == f"{run['id']}.tar.gz"
    results = system.get("/result", filter=f"run_id={run['id']}", pageSize=100)["results"]
    assert len(results) == len(written) == run["summary"]["tests"] == 7
    assert Counter(result["result"] for result in results) == {
        "passed": 3, "failed": 1, "error": 1, "skipped": 1, "xfailed": 1,
    }  # fmt: skip
    failed = next(result for result in results if result["result"] == "failed")
    assert "traceback.log" in [
        artifact["filename"] for artifact in system.get("/artifact", resultId=failed["id"])["artifacts"]
    ]


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

    wait_for("running", 30)
    children = psutil.Process(system.process.pid).children()
    (worker,) = [child for child in children if "ibutsu_server:worker_app" in child.cmdline()]
    killed = [*worker.children(recursive=True), worker]
    for process in killed:
        process.kill()
    done = wait_for("done", 150)
    run = system.get(f"/run/{done['run_id']}")
    assert run["summary"]["tests"] == run["summary"]["passes"] == 150_000
    results = system.get("/result", filter=f"run_id={run['id']}", pageSize=1)
    assert results["pagination"]["totalItems"] == 150_000
