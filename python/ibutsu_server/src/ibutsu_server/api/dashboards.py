"""Dashboards: pages of widgets, of a project or of a user alone."""

from __future__ import annotations

import uuid

import flask
from werkzeug.exceptions import Conflict

from ibutsu_server.api import access, answers, filters, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store.models import Dashboard

_FIELDS = ("title", "description", "filters")


def serialise(dashboard: Dashboard) -> schemas.Dashboard:
    """Return the dashboard as the contract has it."""
    return schemas.Dashboard.model_validate(dashboard)


@api.get("/dashboard")
@operation(query=schemas.DashboardQuery, answers={200: schemas.Dashboards})
def get_dashboards(query: schemas.DashboardQuery) -> flask.Response:
    """List the dashboards that the user may see."""
    where = [access.visible_or_own(Dashboard), *filters.conditions(Dashboard, query.filter)]
    if query.project_id:
        where.append(Dashboard.project_id == query.project_id)
    if query.user_id:
        where.append(Dashboard.user_id == query.user_id)
    return answers.page(
        "dashboards", Dashboard, serialise, query, where=where, order=[Dashboard.title.asc(), Dashboard.id.asc()]
    )


@api.post("/dashboard")
@operation(body=schemas.DashboardIn, answers={201: schemas.Dashboard}, errors=(403, 409))
def add_dashboard(body: schemas.DashboardIn) -> flask.Response:
    """Make a dashboard."""
    session = access.session()
    project = access.project_of(None, body.project_id)
    if body.id and session.get(Dashboard, body.id):
        raise Conflict(f"There is a dashboard {body.id} already.")
    dashboard = Dashboard(
        id=body.id or uuid.uuid4(), project_id=project and project.id, user_id=access.user().id, **body.given(*_FIELDS)
    )
    session.add(dashboard)
    session.commit()
    return answers.one(serialise(dashboard), 201)


@api.get("/dashboard/<dashboard_id>")
@operation(answers={200: schemas.Dashboard}, errors=(403, 404))
def get_dashboard(dashboard_id: str) -> flask.Response:
    """Answer with one dashboard."""
    return answers.one(serialise(access.find_visible(Dashboard, dashboard_id, "dashboard")))


@api.put("/dashboard/<dashboard_id>")
@operation(body=schemas.DashboardIn, answers={200: schemas.Dashboard}, errors=(403, 404))
def update_dashboard(dashboard_id: str, body: schemas.DashboardIn) -> flask.Response:
    """Change the given fields."""
    dashboard = access.find_visible(Dashboard, dashboard_id, "dashboard")
    project = access.project_of(None, body.project_id)
    if project is not None:
        dashboard.project_id = project.id
    for name, value in body.given(*_FIELDS).items():
        setattr(dashboard, name, value)
    access.session().commit()
    return answers.one(serialise(dashboard))


@api.delete("/dashboard/<dashboard_id>")
@operation(answers={200: schemas.Message}, errors=(403, 404))
def delete_dashboard(dashboard_id: str) -> flask.Response:
    """Delete the dashboard."""
    access.session().delete(access.find_visible(Dashboard, dashboard_id, "dashboard"))
    access.session().commit()
    return answers.message("The dashboard is deleted.")
