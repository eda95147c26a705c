"""Dashboards, widgets and their types."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import Field

from ibutsu_server.api.schemas.common import Absent, FilterQuery, In, Out, Pagination, Text, Whole


class DashboardQuery(FilterQuery):
    """Which dashboards are asked for."""

    project_id: uuid.UUID | Absent = None
    user_id: uuid.UUID | Absent = None


class Dashboard(Out):
    """A page of widgets, of a project or, without one, of a user."""

    id: uuid.UUID
    title: str | None
    description: str | None
    filters: str | None
    project_id: uuid.UUID | None
    user_id: uuid.UUID | None


class DashboardIn(In):
    """A dashboard as a client sends it; who makes it is its user."""

    id: uuid.UUID | None = None
    title: Text | None = None
    description: Text | None = None
    filters: Text | None = None
    project_id: uuid.UUID | None = None


class Dashboards(Out):
    """A page of dashboards."""

    dashboards: list[Dashboard]
    pagination: Pagination


class WidgetTypeQuery(In):
    """Which widget types are asked for."""

    type: str | Absent = None


class WidgetQuery(In):
    """With what a widget is computed."""

    params: str = Field("{}", description="A JSON object with the parameters that the type names.")


class WidgetConfig(Out):
    """A widget with its parameters, of a project or, without one, of a user. The lightest comes first."""

    id: uuid.UUID
    type: str | None
    widget: str | None
    project_id: uuid.UUID | None
    weight: int
    params: dict[str, Any]
    title: str | None


class WidgetConfigIn(In):
    """A widget's configuration as a client sends it; `widget` is the id of a widget type."""

    id: uuid.UUID | None = None
    type: Literal["widget", "view"] | None = None
    widget: Text | None = None
    project_id: uuid.UUID | None = None
    weight: Whole | None = None
    params: dict[str, Any] | None = None
    title: Text | None = None


class WidgetConfigs(Out):
    """A page of widget configurations."""

    widgets: list[WidgetConfig]
    pagination: Pagination


class WidgetParam(Out):
    """A parameter of a widget type."""

    name: str
    description: str
    type: str


class WidgetType(Out):
    """What a widget can be."""

    id: str
    title: str
    description: str
    type: Literal["widget", "view"]
    params: list[WidgetParam]


class WidgetTypes(Out):
    """The widget types, all on one page."""

    types: list[WidgetType]
    pagination: Pagination
