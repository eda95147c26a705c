"""Widgets: their types, and what they show."""

from __future__ import annotations

import uuid
from typing import Any

import flask
import pydantic
from werkzeug.exceptions import BadRequest, NotFound

from ibutsu_server.api import access, answers, bodies, schemas, widget_types
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store.filters import FilterError
from ibutsu_server.store.models import WidgetConfig


@api.get("/widget/types")
@operation(query=schemas.WidgetTypeQuery, answers={200: schemas.WidgetTypes})
def get_widget_types(query: schemas.WidgetTypeQuery) -> flask.Response:
    """List the widget types and their parameters."""
    types = [_described(one) for one in widget_types.WIDGETS if query.type in (None, one.kind)]
    count = len(types)
    pagination = schemas.Pagination(page=1, pageSize=max(count, 1), totalItems=count, totalPages=min(count, 1))
    return answers.listed("types", types, pagination)


@api.get("/widget/<widget>")
@operation(query=schemas.WidgetQuery, answers={200: Any}, errors=(403, 404))
def get_widget(widget: str, query: schemas.WidgetQuery) -> flask.Response:
    """Compute what the widget of this type shows.

    The id of a widget configuration stands for its type and its parameters; those of the request go before.
    """
    given = bodies.json_object(query.params, "parameter `params`")
    found = widget_types.BY_ID.get(widget)
    if found is None and (config := _configured(widget)) is not None:
        found = widget_types.BY_ID.get(config.widget or "")
        given = {"project": config.project_id and str(config.project_id)} | config.params | given
    if found is None:
        raise NotFound(f"There is no widget {widget[:200]!r}; GET /widget/types lists them.")
    try:
        params = found.params.model_validate(given)
    except pydantic.ValidationError as error:
        raise BadRequest(f"The parameter `params` is not right: {bodies.problems(error)}.") from error
    if params.project:
        access.project_named(str(params.project))
    try:
        return flask.jsonify(found.compute(params))
    except FilterError as error:
        raise BadRequest(str(error)) from error


def _configured(text: str) -> WidgetConfig | None:
    try:
        uuid.UUID(text)
    except ValueError:
        return None
    return access.find_visible(WidgetConfig, text, "widget configuration")


def _described(one: widget_types.Widget) -> schemas.WidgetType:
    params = [
        schemas.WidgetParam(
            name=name, description=field.description or "", type=widget_types.type_name(field.annotation)
        )
        for name, field in one.params.model_fields.items()
    ]
    return schemas.WidgetType(id=one.id, title=one.title, description=one.description, type=one.kind, params=params)
