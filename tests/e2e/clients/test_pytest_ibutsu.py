"""pytest-ibutsu: what it sends to the server, and the archives that it writes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

pytestmark = pytest.mark.slow

OUTCOMES = {"passed": 6, "failed": 1, "skipped": 2, "xfailed": 1, "xpassed": 1, "error": 2}

UPLOAD = """
import sys, time
from ibutsu_client import ApiClient, Configuration
from ibutsu_client.api import ImportApi
url, token, path = sys.argv[1:]
api = ImportApi(ApiClient(Configuration(host=url + "/api", access_token=token)))
row = api.add_import(import_file=path)
while row.status in ("pending", "running"):
    time.sleep(0.1)
    row = api.get_import(row.id)
print(row.status, row.run_id)
"""


def test_server_mode_stores_what_the_plugin_says(member: Any, report: Any) -> None:
    jenkins = {"JOB_NAME": "nightly", "BUILD_NUMBER": "7", "BUILD_URL": "http://jenkins.example/7"}
    data = ("--ibutsu-data=component=core", "--ibutsu-data=env=stage", "--ibutsu-data=a.b.c=deep")
    session = report("--ibutsu-source=ci", *data, **jenkins)
    session.assert_sent()
    session.assert_stored_as_written()
    run, results, _ = session.stored()
    assert Counter(row["result"] for row in results) == OUTCOMES
    assert (run["component"], run["env"], run["source"]) == ("core", "stage", "ci")
    assert (run["metadata"]["jenkins"]["job_name"], run["metadata"]["a"]) == ("nightly", {"b": {"c": "deep"}})
    found = member.get("/result", filter=[f"run_id={run['id']}", "metadata.polarion=ABC-1"])["results"]
    assert [row["test_id"] for row in found] == ["test_passes"]


def test_an_archive_that_ibutsu_client_uploads_says_the_same_as_server_mode(
    member: Any, report: Any, run_client: Any
) -> None:
    sent, archived = report("--ibutsu-no-archive"), report(mode="archive")
    sent.assert_sent()
    for _ in range(2):
        ran = run_client("-c", UPLOAD, member.url, member.token, str(archived.archive))
        assert ran.stdout.split() == ["done", archived.run_id]
        archived.assert_stored_as_written()
    assert comparable(sent) == comparable(archived)


def test_the_workers_of_xdist_make_one_run_and_its_archive_doubles_nothing(member: Any, report: Any) -> None:
    session = report("-n2")
    session.assert_sent()
    session.assert_stored_as_written()
    assert Counter(row["result"] for row in session.stored()[1]) == OUTCOMES
    assert member.upload(session.archive)["status"] == "done"
    session.assert_stored_as_written()
    assert [run["id"] for run in member.get("/run")["runs"]] == [session.run_id]


def comparable(session: Any) -> tuple[Any, ...]:
    """Return what the server has of a session, without what differs between two sessions of the same tests."""
    run, results, artifacts = session.stored()
    for row in results:
        for changing in ("id", "run_id", "start_time", "duration"):
            del row[changing]
        for changing in ("run", "durations"):
            del row["metadata"][changing]
    files = Counter((name, data) for _, name, data in artifacts.elements())
    return run["summary"], run["metadata"], sorted(results, key=lambda row: str(row["test_id"])), files
