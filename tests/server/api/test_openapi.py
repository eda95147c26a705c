"""The document and its page."""

from __future__ import annotations

import re

import flask
import jsonschema_rs


def test_the_document_is_public_and_valid(app: flask.Flask) -> None:
    response = app.test_client().get("/api/openapi.json")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    document = response.get_json()
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator(schema | {"components": document["components"]})
    operations = [one for path in document["paths"].values() for one in path.values()]
    identifiers = [one["operationId"] for one in operations]
    assert len(set(identifiers)) == len(identifiers)
    assert all(one["summary"] for one in operations)


def test_the_page_loads_nothing_from_elsewhere(app: flask.Flask) -> None:
    client = app.test_client()
    page = client.get("/api/ui/")
    assert "/api/openapi.json" in page.text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    for address in loaded:
        assert address.startswith("/api/ui/")
        assert client.get(address, buffered=True).status_code == 200
    sources = re.sub(r"'[^']*'|data:", "", page.headers["Content-Security-Policy"])
    assert not re.search(r"https?:|\*", sources)


def test_an_address_that_is_not_right_is_refused_by_the_name_of_its_parameter(ann: object, app: flask.Flask) -> None:
    headers = {"Authorization": f"Bearer {ann.token}"}  # type: ignore[attr-defined]
    for query, name in (("estimate=perhaps", "estimate"), ("pageSize=0", "pageSize"), ("page=1.5", "page")):
        response = app.test_client().get(f"/api/run?{query}", headers=headers)
        assert response.status_code == 400
        assert name in response.get_json()["detail"]
