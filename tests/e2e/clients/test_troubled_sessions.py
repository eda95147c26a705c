"""pytest-ibutsu where sessions do not go well: tests that pass only when run again, Ctrl-C, SIGKILL."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_reruns_within_a_session_are_one_result(report: Any) -> None:
    session = report(
        "--reruns=2", code=0,
        tests="attempts = []\ndef test_flaky():\n    attempts.append(1)\n    assert len(attempts) == 3\n",
    )  # fmt: skip
    assert "2 rerun" in session.output
    session.assert_sent()
    session.assert_stored_as_written()
    run, results, _ = session.stored()
    assert [row["result"] for row in results] == ["passed"]
    assert run["summary"]["pass_percent"] == 100


def test_a_second_session_into_the_same_run_adds_to_it(report: Any) -> None:
    tests = "import os\ndef test_steady(): pass\ndef test_flaky(): assert os.environ['TURN'] == '2'\n"
    run_id = str(uuid.uuid4())
    first = report(f"--ibutsu-run-id={run_id}", tests=tests, TURN="1")
    first.assert_stored_as_written()
    second = report(f"--ibutsu-run-id={run_id}", "test_suite.py::test_flaky", tests=tests, code=0, TURN="2")
    second.assert_sent()
    run, results, _ = second.stored()
    assert sorted((row["test_id"], row["result"]) for row in results) == [
        ("test_flaky", "failed"), ("test_flaky", "passed"), ("test_steady", "passed"),
    ]  # fmt: skip
    assert {name: run["summary"][name] for name in ("tests", "failures", "passes")} == {
        "tests": 3, "failures": 1, "passes": 2,
    }  # fmt: skip


def test_ctrl_c_leaves_what_ran_until_then(report: Any) -> None:
    session = report(
        code=2,
        tests="import os, signal, time\ndef test_first(): pass\n"
        "def test_second():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
        "def test_third(): pass\n",
    )  # fmt: skip
    assert "KeyboardInterrupt" in session.output
    session.assert_sent()
    session.assert_stored_as_written()
    _, results, _ = session.stored()
    assert [row["test_id"] for row in results] == ["test_second", "test_first"]


def test_a_run_whose_reporter_was_killed_is_repaired(system: Any, member: Any, report: Any) -> None:
    run_id = str(uuid.uuid4())
    tests = "import pytest\n@pytest.mark.parametrize('n', range(1000))\ndef test_many(n): assert n % 5\n"
    process = report.start(f"--ibutsu-run-id={run_id}", "-q", tests=tests)
    try:
        wait_for(lambda: stored(member, run_id) >= 10)
    finally:
        process.kill()
        process.wait()
    counts = [stored(member, run_id)]
    # The server may have been at the last request yet.
    wait_for(lambda: (counts.append(stored(member, run_id)), counts[-1] == counts[-2])[1])
    assert 10 <= counts[-1] < 1000
    system.run_task("runs.sync_aborted_runs")
    wait_for(lambda: member.get(f"/run/{run_id}")["summary"]["tests"] == counts[-1])
    summary = member.get(f"/run/{run_id}")["summary"]
    failed = member.get("/result", filter=[f"run_id={run_id}", "result=failed"])["pagination"]["totalItems"]
    assert summary["failures"] == failed > 0
    assert (summary["passes"], summary["collected"]) == (counts[-1] - failed, 1000)
    assert summary["not_run"] == 1000 - counts[-1]


def stored(member: Any, run_id: str) -> int:
    found: int = member.get("/result", filter=f"run_id={run_id}", pageSize=1)["pagination"]["totalItems"]
    return found


def wait_for(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
