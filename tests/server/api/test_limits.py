"""What a request may cost: each limit has a status, and a sentence that names it and the variable that sets it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import flask
import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from ibutsu_core.limits import ApiLimits
from ibutsu_server.store.models import Artifact, Import, UploadChunk

Limited = Callable[..., flask.Flask]


@pytest.fixture
def ask(ann: Any, limited: Limited) -> Callable[..., TestResponse]:
    """Ask as Ann, with one limit other than usual."""

    def ask(limit: dict[str, int], method: str, path: str, **options: Any) -> TestResponse:
        return dataclasses.replace(ann, client=limited(**limit).test_client())(method, path, **options)

    return ask


def upload(**fields: Any) -> dict[str, Any]:
    return {"importFile": (io.BytesIO(b"x" * 2000), "r.xml"), "project": "ann-project"} | fields


def artifact(**fields: Any) -> dict[str, Any]:
    return {"file": (io.BytesIO(b"x" * 2000), "file"), "filename": "a.log", "runId": "…"} | fields


def in_project(**fields: Any) -> dict[str, Any]:
    return {"metadata": {"project": "ann-project"} | fields.pop("metadata", {})} | fields


DEEP = {"a": {"b": {"c": [1]}}}
LONG = {"text": "é" * 600}


REFUSED: list[tuple[int, dict[str, int], str, str, dict[str, Any]]] = [
    (413, {"body_size": 1000}, "POST", "/run", {"json": in_project(source="x" * 1000)}),
    (413, {"upload_size": 1999}, "POST", "/import", {"data": upload()}),
    (413, {"artifact_size": 1999}, "POST", "/artifact", {"data": artifact()}),
    (413, {"field_size": 1000}, "POST", "/import", {"data": upload(source="x" * 1001)}),
    (413, {"field_size": 1000}, "POST", "/artifact", {"data": artifact(filename="x" * 1001)}),
    (422, {"metadata_size": 1000}, "POST", "/run", {"json": in_project(metadata=LONG)}),
    (422, {"metadata_size": 1000}, "POST", "/run", {"json": in_project(summary=LONG)}),
    (422, {"metadata_size": 1000}, "POST", "/result", {"json": in_project(metadata=LONG)}),
    (422, {"metadata_size": 1000}, "POST", "/result", {"json": in_project(params=LONG)}),
    (422, {"metadata_size": 1000}, "POST", "/import", {"data": upload(metadata=json.dumps(LONG))}),
    (422, {"metadata_size": 1000}, "POST", "/artifact", {"data": artifact(additionalMetadata=json.dumps(LONG))}),
    (422, {"json_depth": 4}, "POST", "/run", {"json": in_project(metadata=DEEP)}),
    (422, {"json_depth": 3}, "POST", "/import", {"data": upload(metadata=json.dumps(DEEP))}),
    (422, {"json_depth": 3}, "POST", "/artifact", {"data": artifact(additionalMetadata=json.dumps(DEEP))}),
    (422, {"json_depth": 3}, "GET", f"/widget/result-summary?params={json.dumps(DEEP)}", {}),
    (422, {"page_size": 600}, "GET", "/result?pageSize=601", {}),
    (422, {"page_size": 20}, "GET", "/project", {}),
    (422, {"filters": 2}, "GET", "/run?filter=source=a&filter=env=a&filter=component=a", {}),
    (422, {"filters": 2}, "GET", "/run?filter=source=a&filter=env=a&filter=component=a&pageSize=501", {}),
    (422, {"filter_length": 10}, "GET", "/import?filter=filename=ab", {}),
    (422, {"filter_length": 10}, "POST", "/runs/bulk-update?filter=component=a", {"json": in_project()}),
    (422, {"filters": 1}, "GET", '/widget/result-summary?params={"additional_filters": ["env=a", "env=b"]}', {}),
]
"""Status, limit, and a request that is just over it."""


def test_what_is_over_a_limit_is_refused_with_the_limit_and_its_variable(
    ask: Callable[..., TestResponse], session: Session
) -> None:
    for status, limit, method, path, options in REFUSED:
        response = ask(limit, method, path, **options)
        ((name, value),) = limit.items()
        assert response.status_code == status, (limit, path, response.text)
        detail = response.get_json()["detail"]
        assert re.search(rf"\b{value} \w+; IBUTSU_API_MAX_{name.upper()} sets this limit\.$", detail), detail
    for model in (Import, UploadChunk, Artifact):
        assert session.scalar(sa.select(sa.func.count()).select_from(model)) == 0


TAKEN: list[tuple[dict[str, int], str, str, dict[str, Any]]] = [
    ({"upload_size": 2000}, "POST", "/import", {"data": upload()}),
    ({"field_size": 11, "metadata_size": 13}, "POST", "/import", {"data": upload(metadata='{"a": 123456}')}),
    ({"json_depth": 5}, "POST", "/run", {"json": in_project(metadata=DEEP)}),
    ({"page_size": 600}, "GET", "/run?pageSize=600", {}),
    ({"filter_length": 10, "filters": 2}, "GET", "/run?filter=source=abc&filter=source=abc", {}),
]


def test_what_is_at_a_limit_is_taken(ask: Callable[..., TestResponse]) -> None:
    for limit, method, path, options in TAKEN:
        response = ask(limit, method, path, **options)
        assert response.status_code in (200, 201), (limit, path, response.text)


def test_the_deepest_json_that_is_taken_comes_back(ann: Any) -> None:
    value: Any = 1
    for _ in range(ApiLimits().json_depth - 2):
        value = [value]
    run = ann.run(metadata={"deep": value})
    assert run["metadata"] == {"deep": value}
    assert ann.get("/run").get_json()["runs"][0]["metadata"] == {"deep": value}


def test_updates_do_not_add_up_to_more_metadata_than_a_limit(ask: Callable[..., TestResponse], ann: Any) -> None:
    run = ann.run(metadata={"a": "x" * 600})
    result = ann.result(run, metadata={"a": "x" * 600})
    run_path, result_path = f"/run/{run['id']}", f"/result/{result['id']}"
    for method, path in (("PUT", run_path), ("PUT", result_path), ("POST", "/runs/bulk-update")):
        response = ask({"metadata_size": 1000}, method, path, json={"metadata": {"b": "x" * 600}})
        assert (response.status_code, "IBUTSU_API_MAX_METADATA_SIZE" in response.text) == (422, True)
        assert ask({"metadata_size": 1000}, method, path, json={"metadata": {"a": "x" * 700}}).status_code == 200
    assert set(ann.get(run_path).get_json()["metadata"]) == {"a"}


def test_a_page_of_as_many_as_the_document_allows_is_a_task(ann: Any, app: flask.Flask) -> None:
    parameters = app.test_client().get("/api/openapi.json").get_json()["paths"]["/api/run"]["get"]["parameters"]
    shapes = {one["name"]: one["schema"] for one in parameters}
    assert shapes["filter"]["maxItems"] == ApiLimits().filters
    assert shapes["filter"]["items"]["maxLength"] == ApiLimits().filter_length
    assert ann.get(f"/run?pageSize={shapes['pageSize']['maximum']}").status_code == 201
    assert ann.get(f"/run?pageSize={shapes['pageSize']['maximum'] + 1}").status_code == 422


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"IBUTSU_API_MAX_UPLOAD_SIZE": "1000000", "IBUTSU_API_MAX_BODY_SIZE": "1000000"}


FIRST = b'--x\r\nContent-Disposition: form-data; name="importFile"; filename="r.xml"\r\n\r\n'


LONG_BODIES = [
    (path, kind, first, length)
    for path, kind, first in (
        ("import", "multipart/form-data; boundary=x", FIRST),
        ("run", "application/json", b'{"source": "'),
    )
    for length in ({"Content-Length": str(300_000_000)}, {})
]


def test_a_client_that_sends_too_much_is_told_before_it_has_sent_all(
    gunicorn: tuple[str, int], ann: Any, session: Session
) -> None:
    sent = 0

    def body(first: bytes) -> Iterator[bytes]:
        nonlocal sent
        sent = 0
        yield first
        while sent < 300_000_000:
            sent += 100_000
            yield b"x" * 100_000

    for path, kind, first, length in LONG_BODIES:
        headers = {"Authorization": f"Bearer {ann.token}", "Content-Type": kind, **length}
        response = httpx.post(f"http://{gunicorn[0]}/api/{path}", headers=headers, content=body(first), timeout=60)
        assert response.status_code == 413, (path, length, response.text)
        assert "1000000 bytes; IBUTSU_API_MAX_" in response.json()["detail"]
        assert sent < 100_000_000
    assert session.scalar(sa.select(sa.func.count()).select_from(Import)) == 0


def test_a_page_is_bounded_in_bytes_unless_it_is_one_entry(ask: Callable[..., TestResponse], ann: Any) -> None:
    for _ in range(2):
        ann.result(ann.run(metadata=LONG), metadata=LONG)
    for path in ("/run", "/result"):
        assert ask({"page_bytes": 4000}, "GET", path).status_code == 200
        refused = ask({"page_bytes": 2000}, "GET", path)
        assert refused.status_code == 422
        assert "larger than 2000 bytes; IBUTSU_API_MAX_PAGE_BYTES sets this limit." in refused.get_json()["detail"]
        one = ask({"page_bytes": 1}, "GET", f"{path}?pageSize=1")
        assert (one.status_code, one.get_json()["pagination"]["totalItems"]) == (200, 2)
        assert ask({"page_bytes": 1}, "GET", f"{path}?page=2").get_json()["pagination"]["totalItems"] == 2


def test_a_list_that_takes_too_long_says_so_and_is_not_repeated_by_clients(
    ask: Callable[..., TestResponse], ann: Any, session: Session
) -> None:
    session.execute(sa.text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))
    limit = {"query_time": 1, "lock_time": 60}
    for path in ("/run", '/widget/result-summary?params={"weeks": 1}'):
        response = ask(limit, "GET", path)
        assert (response.status_code, "Retry-After" in response.headers) == (422, False)
        assert "1 seconds; IBUTSU_API_MAX_QUERY_TIME sets this limit." in response.get_json()["detail"]
    response = ask(limit, "POST", "/run", json=in_project())
    assert (response.status_code, "Retry-After" in response.headers) == (503, False)
    assert "IBUTSU_API_MAX_QUERY_TIME" in response.get_json()["detail"]


def test_what_somebody_else_changes_for_long_is_to_be_tried_again(
    ask: Callable[..., TestResponse], ann: Any, session: Session
) -> None:
    path = f"/run/{ann.run()['id']}"
    session.execute(sa.text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))
    response = ask({"lock_time": 1}, "PUT", path, json=in_project())
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    assert response.get_json()["detail"].startswith("Something else changes this")


def test_no_regular_expression_makes_the_server_fail(ann: Any) -> None:
    ann.run(source="a" * 200 + "b")
    for text in ["~(x{1,255}){1,255}", "~(((((a+)+)+)+)+)+$", "~[[:nothing:]]", "~\\", "~a**"]:
        assert ann.get("/run", query_string={"filter": f"source{text}"}).status_code in (200, 400), text
