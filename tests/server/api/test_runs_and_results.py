"""Runs and results: what is kept, merged, refused, computed and listed."""

from __future__ import annotations

import io
import json
import uuid
from typing import Any

import pytest


def test_a_run_comes_back_as_it_was_sent(ann: Any) -> None:
    sent = {
        "id": str(uuid.uuid4()),
        "start_time": "2024-05-06T09:08:09.123456+02:00",
        "duration": 1.5,
        "source": "ci",
        "component": None,
        "env": None,
        "summary": {"collected": 10, "mine": "kept"},
        "metadata": {"project": "ann-project", "env": "stage", "n": None, "deep": {"ü": [1, {"x": "雪"}]}, "f": 0.1},
    }
    run = ann.run(**sent)
    assert ann.get(f"/run/{run['id']}").get_json() == run
    assert run["id"] == sent["id"]
    assert run["start_time"] == "2024-05-06T07:08:09.123456Z"
    assert run["metadata"] == sent["metadata"]
    assert (run["env"], run["component"], run["source"]) == ("stage", None, "ci")
    assert run["project_id"] == str(ann.project.id)
    assert run["summary"]["collected"] == 10
    assert run["summary"]["not_run"] == 10
    assert run["duration"] == 1.5


def test_a_run_is_updated_in_part_and_its_metadata_merged(ann: Any) -> None:
    run = ann.run(source="a", env="e", metadata={"keep": 1, "deep": {"a": 1, "b": 2}})
    update = {"id": str(uuid.uuid4()), "env": None, "source": "b", "metadata": {"deep": {"b": 3, "c": 4}, "new": None}}
    response = ann.put(f"/run/{run['id']}", update)
    assert response.status_code == 200
    updated = response.get_json()
    assert updated["id"] == run["id"]
    assert (updated["source"], updated["env"]) == ("b", "e")
    assert updated["metadata"] == {"keep": 1, "deep": {"a": 1, "b": 3, "c": 4}, "new": None}
    assert updated["start_time"] == run["start_time"]


def test_moving_a_run_moves_its_results(ann: Any, bob: Any, boss: Any) -> None:
    run = ann.run()
    result = ann.result(run)
    assert ann.put(f"/run/{run['id']}", {"metadata": {"project": "bob-project"}}).status_code == 403
    assert ann.put(f"/run/{run['id']}", {"metadata": {"project": "none"}}).status_code == 400
    assert boss.put(f"/run/{run['id']}", {"metadata": {"project": "bob-project"}}).status_code == 200
    assert bob.get(f"/result/{result['id']}").status_code == 200
    assert ann.get(f"/result/{result['id']}").status_code == 403


def test_the_summary_counts_the_results_whenever_the_run_is_updated(ann: Any) -> None:
    run = ann.run(summary={"collected": 9, "tests": 99})
    outcomes = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "manual")
    results = [ann.result(run, result=outcome, duration=0.5) for outcome in outcomes]
    updated = ann.put(f"/run/{run['id']}", {"summary": {"collected": 9}}).get_json()
    assert updated["duration"] == 3.5
    expected = {"tests": 7, "failures": 1, "errors": 1, "skips": 1, "xfailures": 1, "xpasses": 1, "passes": 2}
    assert updated["summary"] == expected | {"pass_percent": 28, "collected": 9, "not_run": 2}
    ann.put(f"/result/{results[0]['id']}", {"result": "failed"})
    assert ann.get(f"/run/{run['id']}").get_json()["summary"]["failures"] == 2


def test_the_same_post_twice_changes_nothing_and_another_is_a_conflict(ann: Any) -> None:
    run = {"id": str(uuid.uuid4()), "source": "a", "project_id": str(ann.project.id), "metadata": {"x": 1}}
    first = ann.run(**run)
    assert ann.run(**run) == first
    assert ann.post("/run", run | {"source": "b"}).status_code == 409
    result = {"id": str(uuid.uuid4()), "result": "failed", "metadata": {"user_properties": {"p": 1}, "y": 2}}
    stored = ann.result(first, **result)
    assert ann.result(first, **result) == stored
    body = result | {"run_id": first["id"], "project_id": first["project_id"], "result": "passed"}
    assert ann.post("/result", body).status_code == 409
    assert ann.get(f"/result/{stored['id']}").get_json()["result"] == "failed"
    assert ann.get(f"/result?filter=run_id={first['id']}").get_json()["pagination"]["totalItems"] == 1


def test_a_result_comes_back_with_its_user_properties_promoted(ann: Any) -> None:
    run = ann.run()
    metadata = {
        "run": run["id"], "project": "ann-project", "env": "prod", "component": "web",
        "statuses": {"call": ["passed", False]}, "markers": [{"name": "slow", "args": [], "kwargs": {}}],
        "user_properties": {"build": 7, "env": "not this"},
    }  # fmt: skip
    sent = {"id": str(uuid.uuid4()), "test_id": "t[\u2028]", "duration": 2, "result": "xfailed", "params": {"a": "1"}}
    response = ann.post("/result", sent | {"metadata": metadata})
    assert response.status_code == 201
    result = response.get_json()
    del metadata["user_properties"]
    assert result["metadata"] == metadata | {"build": 7}
    assert (result["env"], result["component"], result["run_id"]) == ("prod", "web", run["id"])
    assert {key: result[key] for key in sent} == sent
    assert ann.get("/result").get_json()["results"] == [result]


def test_a_result_is_updated_in_part(ann: Any) -> None:
    result = ann.result(ann.run(), env="e", metadata={"a": {"b": 1}})
    updated = ann.put(f"/result/{result['id']}", {"metadata": {"a": {"c": 2}}, "start_time": "2024-01-01"}).get_json()
    assert updated["metadata"] == {"a": {"b": 1, "c": 2}}
    assert updated["start_time"] == "2024-01-01T00:00:00Z"
    assert (updated["env"], updated["result"], updated["test_id"]) == ("e", "passed", "t")


@pytest.mark.parametrize(
    "change",
    [
        {"result": "great"},
        {"result": 1},
        {"duration": "1"},
        {"duration": True},
        {"duration": 1e300},
        {"start_time": "yesterday"},
        {"start_time": 5},
        {"start_time": "2024"},
        {"start_time": "0001-01-01T00:00:00+14:00"},
        {"id": "x"},
        {"run_id": "x"},
        {"run_id": str(uuid.uuid4())},
        {"metadata": {"run": 5}},
        {"metadata": []},
        {"metadata": {"project": "none"}},
        {"metadata": {"project": ["x"]}},
        {"test_id": ["x"]},
        {"params": "x"},
        {"project_id": None},
        {"project_id": str(uuid.uuid4())},
    ],
)
def test_what_is_wrong_with_a_result_is_said(ann: Any, change: dict[str, Any]) -> None:
    response = ann.post("/result", {"project_id": str(ann.project.id)} | change)
    assert response.status_code == 400
    assert response.get_json()["detail"].endswith(".")
    assert ann.get("/result").get_json()["results"] == []


def test_texts_that_the_database_cannot_hold_are_cleaned(ann: Any) -> None:
    body = json.dumps({"project_id": str(ann.project.id), "source": "a\x00b", "metadata": {"k\x00": "\ud83d", "n": 1}})
    run = ann.post("/run", data=body.replace('"n": 1', '"n": NaN, "big": 1e999'), content_type="application/json")
    assert run.status_code == 201
    assert run.get_json()["source"] == "a\ufffdb"
    assert run.get_json()["metadata"] == {"k\ufffd": "\ufffd", "n": "NaN", "big": "Infinity"}


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        ("{", "application/json", 400),
        ("[]", "application/json", 400),
        ("", "application/json", 400),
        ("[" * 100_000, "application/json", 422),
        ('{"metadata": {"a": ' + "[" * 300 + "]" * 300 + "}}", "application/json", 422),
        ('{"duration": ' + "9" * 5000 + "}", "application/json", 400),
        ("\xff", "application/json", 400),
        ("{}", "text/plain", 415),
    ],
)
def test_broken_bodies(ann: Any, data: str, kind: str, status: int) -> None:
    response = ann.post("/run", data=data.encode("latin-1"), content_type=kind)
    assert (response.status_code, response.is_json) == (status, True)


@pytest.mark.parametrize("kind", ["run", "result", "artifact", "import", "project"])
def test_ids_that_are_malformed_or_unknown(ann: Any, kind: str) -> None:
    assert ann.get(f"/{kind}/not-a-uuid").status_code == 400
    assert ann.get(f"/{kind}/{uuid.uuid4()}").status_code == 404
    assert ann.get(f"/{kind}/%00").status_code == 400


def test_unknown_addresses_and_methods_answer_json_without_a_redirect(ann: Any) -> None:
    assert ann.get("/nothing").status_code == 404
    assert ann.get("/nothing").is_json
    assert ann.delete("/run").status_code == 405
    assert ann.post("/run/", {"project_id": str(ann.project.id)}).status_code == 201


def test_pages_walk_through_everything_once_newest_first(ann: Any) -> None:
    times = ["2024-01-01", "2024-01-03", "2024-01-02", "2024-01-02", "2024-01-02"]
    runs = [ann.run(start_time=time) for time in times]
    walked = []
    for number in (1, 2, 3):
        answer = ann.get(f"/run?page={number}&pageSize=2").get_json()
        assert answer["pagination"] == {"page": number, "pageSize": 2, "totalItems": 5, "totalPages": 3}
        walked += answer["runs"]
    assert sorted(run["id"] for run in walked) == sorted(run["id"] for run in runs)
    assert [run["start_time"] for run in walked] == sorted((run["start_time"] for run in runs), reverse=True)
    past = ann.get("/run?page=2147483647&pageSize=500").get_json()
    assert past["runs"] == []
    assert past["pagination"]["totalItems"] == 5
    for bad in ("pageSize=0", "pageSize=-1", "page=x", "pageSize=1.5", f"page={10**30}", "pageSize="):
        assert ann.get(f"/run?{bad}").status_code == 400, bad
    empty = ann.get("/result").get_json()
    assert empty == {"results": [], "pagination": {"page": 1, "pageSize": 25, "totalItems": 0, "totalPages": 0}}


@pytest.fixture
def results(ann: Any) -> list[dict[str, Any]]:
    run = ann.run(metadata={"tags": ["x"]}, summary={"collected": 5})
    return [
        ann.result(run, test_id="a.One[1.5]", duration=1, start_time="2024-01-01",
                   metadata={"num": 107, "tags": ["p"]}),
        ann.result(run, test_id="b.two", duration=2, start_time="2024-01-02", result="failed",
                   metadata={"jenkins": {"build_number": 7}, "markers": [{"name": "slow"}], "flag": True}),
        ann.result(run, test_id="c.50%_off", start_time="2024-01-03T13:00:00Z", env="prod",
                   metadata={"jenkins": {"build_number": "7"}, "version": "1.12.0", "tags": ["p", "q"], "none": None}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["test_id=b.two"], [1]),
        (['test_id="b.two"'], [1]),
        (["test_id!b.two"], [0, 2]),
        (["env!prod"], [0, 1]),
        (["test_id~^[ab]\\."], [0, 1]),
        (["test_id~ONE"], []),
        (["test_id%ONE"], [0]),
        (["test_id%50%_"], [2]),
        (["test_id%_"], [2]),
        (["result*failed;error"], [1]),
        (["duration>1"], [1]),
        (["duration)1"], [0, 1]),
        (["duration>=1"], [0, 1]),
        (["duration<2"], [0]),
        (["duration(2"], [0, 1]),
        (["duration@n"], [2]),
        (["duration@true"], [0, 1]),
        (["start_time>2024-01-02"], [2]),
        (["start_time<2024-01-03T15:00:00+02:00"], [0, 1]),
        (["start_time=2024-01-03T15:00:00+02:00"], [2]),
        (["env@y"], [2]),
        (["metadata.num=107"], [0]),
        (["data.num=107"], [0]),
        (["metadata.jenkins.build_number=7"], [1, 2]),
        (["metadata.jenkins.build_number*7;8", "result=failed"], [1]),
        (["metadata.version=1.12.0"], [2]),
        (["metadata.version~^1\\."], [2]),
        (["metadata.none@1"], []),
        (["metadata.none@0"], [0, 1, 2]),
        (["metadata.tags=p"], [0, 2]),
        (["metadata.tags!q"], [0, 1]),
        (["metadata.tags*q;z"], [2]),
        (["metadata.markers=slow"], [1]),
        (["metadata.a..b=1"], []),
        (["metadata.project=ann-project"], [0, 1, 2]),
        (["metadata.num='; DROP TABLE runs; --"], []),
    ],
)
def test_filters(ann: Any, results: list[dict[str, Any]], texts: list[str], found: list[int]) -> None:
    answer = ann.get("/result", query_string={"filter": texts}).get_json()
    assert sorted(one["test_id"] for one in answer["results"]) == [results[number]["test_id"] for number in found]
    assert answer["pagination"]["totalItems"] == len(found)


def test_filters_on_ids_and_summaries(ann: Any, results: list[dict[str, Any]]) -> None:
    run_id = results[0]["run_id"]
    for text in (f"id={run_id}", f"id%{run_id[4:12].upper()}", f"id~^{run_id[:8]}", f"id*{run_id};{uuid.uuid4()}"):
        assert [run["id"] for run in ann.get("/run", query_string={"filter": text}).get_json()["runs"]] == [run_id]
    for text, count in (("summary.collected>4", 1), ("summary.collected=5", 1), ("summary.collected<5", 0)):
        assert ann.get("/run", query_string={"filter": text}).get_json()["pagination"]["totalItems"] == count
    assert len(ann.get("/result", query_string={"filter": f"run_id={run_id}"}).get_json()["results"]) == 3


@pytest.mark.parametrize(
    "text",
    [
        "", "nothing", "=x", "color=red", "run_id=x", "duration=fast", "duration=nan", "start_time=soon",
        "test_id~(", "metadata.a~[", "summary.collected=1", "id>", "password_hash=x", "metadata=x", "test_id=\x00",
        "start_time>0001-01-01T00:00:00+14:00", "test_id~a{1,99999}", "duration=1e999",
    ],
)  # fmt: skip
def test_filters_that_make_no_sense_are_refused(ann: Any, results: list[dict[str, Any]], text: str) -> None:
    response = ann.get("/result", query_string={"filter": text})
    assert response.status_code == 400
    assert response.get_json()["detail"]


NAMES = ["plain.txt", "spaced name.txt", 'quo"te;semi.txt', "snö 雪 \U0001f600.txt", "line\nbreak.txt", "file"]


@pytest.mark.parametrize("filename", NAMES)
@pytest.mark.parametrize("owner", ["runId", "resultId"])
def test_artifacts_keep_their_bytes_and_names(ann: Any, owner: str, filename: str) -> None:
    run = ann.run()
    result = ann.result(run)
    owner_id = run["id"] if owner == "runId" else result["id"]
    content = bytes(range(256)) * 9000
    form = {"file": (io.BytesIO(content), "file"), "filename": filename, owner: owner_id,
            "additionalMetadata": '{"a": [1]}'}  # fmt: skip
    response = ann.post("/artifact", data=form)
    assert response.status_code == 201
    artifact = response.get_json()
    assert artifact["filename"] == filename
    assert artifact["additional_metadata"] == {"a": [1]}
    assert (artifact["run_id"], artifact["result_id"]) == ((owner_id, None) if owner == "runId" else (None, owner_id))
    assert ann.get(f"/artifact/{artifact['id']}", headers={"Accept": "text/plain"}).get_json() == artifact
    assert ann.get(f"/artifact?{owner}={owner_id}").get_json()["artifacts"] == [artifact]
    download = ann.get(f"/artifact/{artifact['id']}/download")
    assert (download.status_code, download.data) == (200, content)
    assert download.headers["Content-Disposition"].startswith("attachment; ")
    assert "\n" not in download.headers["Content-Disposition"]
    assert ann.delete(f"/artifact/{artifact['id']}").status_code == 200
    assert ann.get(f"/artifact/{artifact['id']}/view").status_code == 404


@pytest.mark.parametrize(
    ("filename", "content", "kind"),
    [
        ("a.png", b"x", "image/png"),
        ("traceback.log", b"x", "text/plain; charset=utf-8"),
        ("screenshot", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("notes", "grüße".encode(), "text/plain; charset=utf-8"),
        ("blob", b"\x00\xff\xfe", "application/octet-stream"),
        ("empty", b"", "text/plain; charset=utf-8"),
    ],
)
def test_an_artifact_is_shown_as_what_it_is(ann: Any, filename: str, content: bytes, kind: str) -> None:
    form = {"file": (io.BytesIO(content), "file"), "filename": filename, "runId": ann.run()["id"]}
    artifact = ann.post("/artifact", data=form).get_json()
    view = ann.get(f"/artifact/{artifact['id']}/view", headers={"Accept": "text/plain"})
    assert (view.status_code, view.data, view.headers["Content-Type"]) == (200, content, kind)
    assert "sandbox" in view.headers["Content-Security-Policy"]


def test_what_is_wrong_with_an_artifact_is_said(ann: Any) -> None:
    run_id = ann.run()["id"]
    good = {"filename": "a", "runId": run_id}
    for status, form in (
        (400, {"runId": run_id}),
        (400, {"filename": "a"}),
        (400, good | {"resultId": run_id}),
        (400, good | {"runId": "x"}),
        (404, good | {"runId": str(uuid.uuid4())}),
        (400, good | {"additionalMetadata": "[1]"}),
    ):
        response = ann.post("/artifact", data=form | {"file": (io.BytesIO(b"x"), "file")})
        assert (response.status_code, response.is_json) == (status, True), form
    assert ann.post("/artifact", data=good | {"file": "no file"}).status_code == 400
    assert ann.get("/artifact").get_json()["artifacts"] == []
