"""The widget types: what each is called, what parameters it takes, and how it is computed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing
import uuid
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import sqlalchemy as sa
from pydantic import Field

from ibutsu_server.api import access, newest
from ibutsu_server.store import widgets
from ibutsu_server.store.models import Result, Run


class Params(pydantic.BaseModel):
    """What every type takes."""

    project: uuid.UUID | None = Field(None, description="The project; all that the user may see when it is not given")
    additional_filters: list[str] = Field([], max_length=100, description="Filters as lists take them; all must hold")


class SummaryParams(Params):
    """Which runs are summed up."""

    source: str | None = Field(None, description="The runs' source")
    env: str | None = Field(None, description="The runs' environment")
    component: str | None = Field(None, description="The runs' component")
    job_name: str | None = Field(None, description="The runs' Jenkins job")


class RunGroupParams(Params):
    """How runs are grouped."""

    group_field: str = Field("component", description="component, env, source or a path such as metadata.branch")
    weeks: int = Field(1, ge=1, le=520, description="How many weeks back runs are counted")


class ResultGroupParams(Params):
    """How results are grouped."""

    group_field: str = Field("result", description="result, test_id, component, env, source or a path of the metadata")
    days: int = Field(1, ge=1, le=3650, description="How many days back results are counted, unless run_id is given")
    run_id: uuid.UUID | None = Field(None, description="The run whose results are counted, however old")


class JenkinsParams(Params):
    """Which builds are listed."""

    builds: int = Field(25, ge=1, le=500, description="How many builds are listed")


def _where(model: type[Run | Result], params: Params) -> list[sa.ColumnElement[bool]]:
    where = newest.conditions(model, params.additional_filters)
    if params.project:
        where.append(model.project_id == params.project)
    return where


def _since(**ago: int) -> dt.datetime:
    return dt.datetime.now(dt.UTC) - dt.timedelta(**ago)


def _result_summary(params: SummaryParams) -> Any:
    where = _where(Run, params)
    chosen = {Run.source: params.source, Run.env: params.env, Run.component: params.component}
    where += [column == value for column, value in chosen.items() if value is not None]
    if params.job_name is not None:
        where.append(Run.data["jenkins"]["job_name"].as_string() == params.job_name)
    return widgets.result_summary(access.session(), where)


def _run_aggregator(params: RunGroupParams) -> Any:
    where = [*_where(Run, params), Run.start_time > _since(weeks=params.weeks)]
    return widgets.run_aggregator(access.session(), where, params.group_field)


def _result_aggregator(params: ResultGroupParams) -> Any:
    narrowed = Result.run_id == params.run_id if params.run_id else Result.start_time > _since(days=params.days)
    return widgets.result_aggregator(access.session(), [*_where(Result, params), narrowed], params.group_field)


def _jenkins_jobs(params: JenkinsParams) -> Any:
    return {"jobs": widgets.jenkins_jobs(access.session(), _where(Run, params), params.builds)}


@dataclasses.dataclass(frozen=True, slots=True)
class Widget:
    """One type. `compute` takes a checked `params` and returns what the widget shows, as JSON."""

    id: str
    title: str
    description: str
    kind: Literal["widget", "view"]
    params: type[Params]
    compute: Callable[[Any], Any]


WIDGETS = (
    Widget("result-aggregator", "Result aggregation", "Counts of results by a field", "widget",
           ResultGroupParams, _result_aggregator),
    Widget("result-summary", "Result summary", "Counts of results by their outcome", "widget",
           SummaryParams, _result_summary),
    Widget("run-aggregator", "Run aggregation", "Percentages of outcomes of recent runs, by a field", "widget",
           RunGroupParams, _run_aggregator),
    Widget("jenkins-job-view", "Jenkins jobs", "The newest builds of Jenkins jobs", "view",
           JenkinsParams, _jenkins_jobs),
)  # fmt: skip

BY_ID = {widget.id: widget for widget in WIDGETS}


def type_name(annotation: Any) -> str:
    """Return what a parameter of this type is called in the list of types."""
    found = next(kind for kind in (*typing.get_args(annotation), annotation) if kind is not type(None))
    kinds = {str: "string", int: "integer", uuid.UUID: "string"}
    return "list" if typing.get_origin(annotation) is list else kinds[found]
