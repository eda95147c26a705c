"""The filters of lists: `<field><operator><value>`, turned into SQL expressions with bound parameters.

A filter that cannot be parsed, names an unknown field or has a value of the wrong kind is a FilterError. Columns
compare by their type; metadata compares as text, except the arrays that `ARRAYS` names. `metadata.project` names the
row's project. What equals is written in the form that the tables' indexes have.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import indexed
from ibutsu_server.store.models import Base, Project, Result, Run

ARRAYS = frozenset(("tags", "markers", "annotations"))
"""Metadata in which `=` and `*` look for elements."""

Model = type[Base]
Condition = sa.ColumnElement[bool]

_SYNTAX = re.compile(r"([A-Za-z0-9._-]+)(>=|<=|[=!><)(~%*@])(.*)", re.DOTALL)
_ALIASES = {")": ">=", "(": "<="}
_ORDERS = frozenset((">", "<", ">=", "<="))

# Columns by the kind of their values.
_IDS = frozenset(("id", "run_id", "project_id", "user_id", "owner_id", "group_id"))
_TEXTS = frozenset(
    (
        "test_id", "result", "component", "env", "source", "status", "filename", "format",
        "name", "title", "email", "description", "type", "widget", "entry", "task", "worker",
    )
)  # fmt: skip
_NUMBERS = frozenset(("duration", "weight"))
_TIMES = frozenset(("start_time", "created", "slot"))
_BOOLEANS = frozenset(("is_active", "is_superadmin", "pinned"))


class FilterError(ValueError):
    """The filter cannot be used; the message is a sentence for who wrote it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """One parsed filter."""

    field: str
    operator: str
    value: str


def parse(text: str) -> Filter:
    """Return the filter that `text` is, or raise FilterError."""
    match = _SYNTAX.fullmatch(text)
    if match is None or "\x00" in text:
        raise FilterError(f"The filter {text[:200]!r} is not of the form <field><operator><value>.")
    field, operator, value = match.groups()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return Filter(field, _ALIASES.get(operator, operator), value)


def conditions(session: Session, model: Model, texts: Sequence[str]) -> list[Condition]:
    """Return the conditions that the filters put on rows of `model`; all must hold."""
    return [condition(session, model, parse(text)) for text in texts]


def condition(session: Session, model: Model, one: Filter) -> Condition:
    """Return the condition that one filter puts on rows of `model`; raise FilterError for an unknown field.

    The session is asked which projects a filter names: the planner knows better what to do with their ids.
    """
    head, _, rest = one.field.partition(".")
    if head in ("metadata", "data") and rest and "metadata" in model.__table__.columns:
        return _metadata(session, model, rest, one)
    if head == "summary" and rest and model is Run:
        path = rest.split(".")
        kind = sa.func.jsonb_typeof(sa.func.jsonb_extract_path(Run.summary, *path))
        text = sa.func.jsonb_extract_path_text(Run.summary, *path, type_=sa.Text)
        number = sa.case((kind == "number", sa.cast(text, sa.Numeric)))
        return _compare(number, one, _number)
    if one.field in model.__table__.columns:
        column = getattr(model, one.field)
        if one.field in _IDS:
            return _compare(column, one, _uuid)
        if one.field in indexed.TEXTS and model in (Run, Result) and one.operator in ("=", "*"):
            return indexed.text_in(column, _values(one))
        if one.field in _TEXTS:
            return _compare(column, one, str)
        if one.field in _NUMBERS:
            return _compare(column, one, _number)
        if one.field in _TIMES:
            return _compare(column, one, _time)
        if one.field in _BOOLEANS:
            if one.operator in _ORDERS:
                raise FilterError(f"The filter on {one.field} compares by {one.operator}, but it is true or false.")
            return _compare(column, one, _boolean)
    raise FilterError(f"There is no field {one.field[:200]!r} to filter by.")


def _metadata(session: Session, model: Any, path: str, one: Filter) -> Condition:
    parts = path.split(".")
    array = len(parts) == 1 and parts[0] in ARRAYS
    if one.operator in ("=", "*") or (one.operator == "!" and array):
        if path == "project" and one.operator == "=":
            named = sa.select(Project.id).where(
                sa.or_(Project.name == one.value, Project.id.cast(sa.Text) == one.value)
            )
            if ids := session.scalars(named).all():
                return sa.cast(model.project_id.in_(ids), sa.Boolean)
        has = indexed.has_element if array else indexed.has_value
        found = sa.or_(*(has(model.data, parts, value) for value in _values(one)))
        return sa.not_(sa.func.coalesce(found, sa.false())) if one.operator == "!" else found
    return _compare(indexed.text_at(model.data, parts), one, str)


def _values(one: Filter) -> list[str]:
    return one.value.split(";") if one.operator == "*" else [one.value]


def _compare(column: Any, one: Filter, convert: Callable[[str], Any]) -> Condition:
    """Apply the operator; `convert` makes the text a value of the column's kind, or raises ValueError."""

    def value(text: str) -> Any:
        try:
            return convert(text)
        except (KeyError, ValueError, OverflowError) as error:
            raise FilterError(
                f"The filter on {one.field} has {text[:200]!r}, which is not {_KINDS[convert]}."
            ) from error

    found: Condition
    match one.operator:
        case "=":
            found = column == value(one.value)
        case "!":
            found = column.is_distinct_from(value(one.value))
        case ">":
            found = column > value(one.value)
        case "<":
            found = column < value(one.value)
        case ">=":
            found = column >= value(one.value)
        case "<=":
            found = column <= value(one.value)
        case "*":
            found = column.in_([value(text) for text in one.value.split(";")])
        case "@":
            found = column.is_not(None) if one.value[:1].lower() in ("y", "t", "1") else column.is_(None)
        case "~":
            found = sa.cast(column, sa.Text).regexp_match(one.value)
        case _:
            found = sa.cast(column, sa.Text).icontains(one.value, autoescape=True)
    return found


def _uuid(text: str) -> uuid.UUID:
    return uuid.UUID(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _time(text: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(text)
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


_KINDS: dict[Callable[[str], Any], str] = {
    _uuid: "a UUID",
    _number: "a number",
    _time: "a time in ISO 8601",
    _boolean: "true or false",
    str: "a text",
}
