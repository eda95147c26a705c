"""Whether the server works, and where it is."""

from __future__ import annotations

import flask
import sqlalchemy as sa
from sqlalchemy import exc

from ibutsu_server.api import access, answers, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation


@api.get("/health")
@operation(answers={200: schemas.Health}, public=True, database=False)
def get_health() -> flask.Response:
    """Say that the server answers."""
    return answers.one(schemas.Health(status="OK", message="The server answers."))


@api.get("/health/database")
@operation(answers={200: schemas.Health, 500: schemas.Health}, identifies_itself=True, database=False)
def get_database_health() -> flask.Response:
    """Say whether the database answers."""
    # The token is looked at here, since that needs the database too.
    try:
        access.identify()
        access.session().execute(sa.text("SELECT 1"))
    except exc.SQLAlchemyError:
        return answers.one(schemas.Health(status="Error", message="The database does not answer."), 500)
    return answers.one(schemas.Health(status="OK", message="The database answers."))


@api.get("/health/info")
@operation(answers={200: schemas.HealthInfo})
def get_health_info() -> flask.Response:
    """Say the addresses that people use."""
    base = public_url()
    return answers.one(schemas.HealthInfo(frontend=base, backend=base, api_ui=f"{base}/api/ui/"))


def public_url() -> str:
    """Return where people reach the server, without a slash at the end."""
    url: str = flask.current_app.extensions["ibutsu_settings"].public_url or flask.request.host_url
    return url.rstrip("/")
