"""The page to which the clients' links lead."""

from __future__ import annotations

import uuid

import flask


def test_the_page_of_a_run_exists_and_holds_no_data(app: flask.Flask) -> None:
    client = app.test_client()
    page = client.get(f"/project/{uuid.uuid4()}/runs/{uuid.uuid4()}")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for path in ("/static/run.js", "/static/run.css"):
        assert path in page.text
        with client.get(path) as part:
            assert part.status_code == 200
    page.close()
    assert client.get("/project/x/runs/y").status_code == 400
