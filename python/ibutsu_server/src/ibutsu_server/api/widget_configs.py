"""Configurations of widgets: a widget type with its parameters, of a project or of a user alone."""

from __future__ import annotations

import uuid
from typing import Any

import flask
from werkzeug.exceptions import BadRequest, Conflict

from ibutsu_server.api import access, answers, filters, schemas, widget_types
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store.models import WidgetConfig

_FIELDS = ("type", "widget", "weight", "params", "title")


def serialise(config: WidgetConfig) -> schemas.WidgetConfig:
    """Return the configuration as the contract has it."""
    return schemas.WidgetConfig.model_validate(config)


@api.get("/widget-config")
@operation(query=schemas.FilterQuery, answers={200: schemas.WidgetConfigs})
def get_widget_configs(query: schemas.FilterQuery) -> flask.Response:
    """List the configurations that the user may see, the lightest first."""
    return answers.page(
        "widgets",
        WidgetConfig,
        serialise,
        query,
        where=[access.visible_or_own(WidgetConfig), *filters.conditions(WidgetConfig, query.filter)],
        order=[WidgetConfig.weight.asc(), WidgetConfig.id.asc()],
    )


@api.post("/widget-config")
@operation(body=schemas.WidgetConfigIn, answers={201: schemas.WidgetConfig}, errors=(403, 409))
def add_widget_config(body: schemas.WidgetConfigIn) -> flask.Response:
    """Keep a configuration."""
    if body.widget is None:
        raise BadRequest("The configuration needs a widget.")
    session = access.session()
    project = access.project_of(None, body.project_id)
    if body.id and session.get(WidgetConfig, body.id):
        raise Conflict(f"There is a widget configuration {body.id} already.")
    config = WidgetConfig(
        id=body.id or uuid.uuid4(), project_id=project and project.id, user_id=access.user().id, **_given(body)
    )
    session.add(config)
    session.commit()
    return answers.one(serialise(config), 201)


@api.get("/widget-config/<config_id>")
@operation(answers={200: schemas.WidgetConfig}, errors=(403, 404))
def get_widget_config(config_id: str) -> flask.Response:
    """Answer with one configuration."""
    return answers.one(serialise(access.find_visible(WidgetConfig, config_id, "widget configuration")))


@api.put("/widget-config/<config_id>")
@operation(body=schemas.WidgetConfigIn, answers={200: schemas.WidgetConfig}, errors=(403, 404))
def update_widget_config(config_id: str, body: schemas.WidgetConfigIn) -> flask.Response:
    """Change the given fields."""
    config = access.find_visible(WidgetConfig, config_id, "widget configuration")
    project = access.project_of(None, body.project_id)
    if project is not None:
        config.project_id = project.id
    for name, value in _given(body).items():
        setattr(config, name, value)
    access.session().commit()
    return answers.one(serialise(config))


@api.delete("/widget-config/<config_id>")
@operation(answers={200: schemas.Message}, errors=(403, 404))
def delete_widget_config(config_id: str) -> flask.Response:
    """Delete the configuration."""
    access.session().delete(access.find_visible(WidgetConfig, config_id, "widget configuration"))
    access.session().commit()
    return answers.message("The widget configuration is deleted.")


def _given(body: schemas.WidgetConfigIn) -> dict[str, Any]:
    given = body.given(*_FIELDS)
    if body.widget is not None:
        known = widget_types.BY_ID.get(body.widget)
        if known is None:
            raise BadRequest(f"There is no widget {body.widget[:200]!r}; GET /widget/types lists them.")
        given["type"] = known.kind
    return given
