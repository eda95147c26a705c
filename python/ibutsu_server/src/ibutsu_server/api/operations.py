"""What each view takes and answers, said once beside its route: it checks requests and makes the document."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

import flask
import pydantic
from werkzeug.exceptions import BadRequest, HTTPException, UnprocessableEntity, UnsupportedMediaType

from ibutsu_server.api import bodies, limits, schemas

View = Callable[..., flask.Response]


@dataclasses.dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is no JSON, by its media type."""

    media_type: str


_LIMITED = frozenset(("pageSize", "filter", "params"))

Answer = Any
"""A type that pydantic knows, or `Raw`, or None for an answer without a body."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `errors` are the statuses whose body is the common one."""

    answers: Mapping[int, Answer]
    errors: frozenset[int]
    query: type[pydantic.BaseModel] | None
    body: type[pydantic.BaseModel] | None
    form: type[pydantic.BaseModel] | None
    needs_token: bool
    identifies_itself: bool


def operation(
    *,
    answers: Mapping[int, Answer],
    errors: Collection[int] = (),
    query: type[pydantic.BaseModel] | None = None,
    body: type[pydantic.BaseModel] | None = None,
    form: type[pydantic.BaseModel] | None = None,
    public: bool = False,
    identifies_itself: bool = False,
    database: bool = True,
    other_type: type[HTTPException] = UnsupportedMediaType,
) -> Callable[[View], View]:
    """Describe a view, and give it `query` and `body` as the checked models that are named here.

    A view that `identifies_itself` looks at the token on its own. `errors` names what is not implied by the rest.
    `other_type` is what a body that is no JSON raises.
    """
    # Whatever the view: an address with a NUL is refused.
    implied = {400}
    if not public:
        implied.add(401)
    if database:
        implied.add(503)
    if body or form:
        implied |= {413, 422, other_type.code or 500}
    if query is not None and query.model_fields.keys() & _LIMITED:
        implied.add(422)
    described = Operation(
        answers=answers,
        errors=frozenset(implied | set(errors)) - set(answers),
        query=query,
        body=body,
        form=form,
        needs_token=not public,
        identifies_itself=identifies_itself,
    )

    def describe(view: View) -> View:
        @functools.wraps(view)
        def checked(**arguments: Any) -> flask.Response:
            if query is not None:
                arguments["query"] = _query(query)
            if body is not None:
                arguments["body"] = bodies.read(body, other_type=other_type)
            return view(**arguments)

        checked.operation = described  # type: ignore[attr-defined]
        return checked

    return describe


def of(view: Callable[..., Any]) -> Operation | None:
    """Return what describes the view, None for one that is no part of the document."""
    found: Operation | None = getattr(view, "operation", None)
    return found


def _query(model: type[pydantic.BaseModel]) -> pydantic.BaseModel:
    arguments = flask.request.args
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name in arguments:
            many = typing.get_origin(field.annotation) is list
            values[name] = arguments.getlist(name) if many else arguments[name]
    try:
        found = model.model_validate(values)
    except pydantic.ValidationError as error:
        raise BadRequest(f"The address is not right: {bodies.problems(error)}.") from error
    if isinstance(found, schemas.PageQuery) and found.pageSize > limits.current().page_size:
        raise UnprocessableEntity(limits.sentence("The page has more than", "page_size", "entries"))
    return found
