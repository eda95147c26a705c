"""The page of a run, to which the clients' links lead. It holds no data: its script asks the API, with a login."""

from __future__ import annotations

import flask

from ibutsu_server.api import access

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"


def register(app: flask.Flask) -> None:
    """Add the page to `app`."""
    app.add_url_rule("/project/<project_id>/runs/<run_id>", view_func=run_page)


def run_page(project_id: str, run_id: str) -> flask.Response:
    """Answer with the page; a malformed id is a BadRequest."""
    access.uuid_of(project_id, "project id")
    access.uuid_of(run_id, "run id")
    response = flask.current_app.send_static_file("run.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response
