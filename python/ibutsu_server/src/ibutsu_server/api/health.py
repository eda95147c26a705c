"""Whether the server works, and where it is."""

from __future__ import annotations

import flask
import sqlalchemy as sa
from sqlalchemy import exc

from ibutsu_server.api import access
from ibutsu_server.api.blueprint import api


@api.get("/health")
@access.public
def get_health() -> flask.Response:
    """Say that the server answers."""
    return flask.jsonify(status="OK", message="The server answers.")


@api.get("/health/database")
@access.public
def get_database_health() -> flask.Response:
    """Say whether the database answers; it needs a token all the same, which needs the database."""
    try:
        access.identify()
        access.session().execute(sa.text("SELECT 1"))
    except exc.SQLAlchemyError:
        response = flask.jsonify(status="Error", message="The database does not answer.")
        response.status_code = 500
        return response
    return flask.jsonify(status="OK", message="The database answers.")


@api.get("/health/info")
def get_health_info() -> flask.Response:
    """Say the addresses that people use."""
    base = public_url()
    return flask.jsonify(frontend=base, backend=base, api_ui=f"{base}/api/ui/")


def public_url() -> str:
    """Return where people reach the server, without a slash at the end."""
    url: str = flask.current_app.extensions["ibutsu_settings"].public_url or flask.request.host_url
    return url.rstrip("/")
