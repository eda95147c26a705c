"""What clients send: JSON, read strictly, and cleaned of what PostgreSQL cannot store."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import flask
import pydantic
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    UnprocessableEntity,
    UnsupportedMediaType,
)

from ibutsu_server.api import limits

Body = TypeVar("Body", bound=pydantic.BaseModel)

_YES = frozenset(("true", "1", "yes", "on"))
_NO = frozenset(("false", "0", "no", "off", ""))

# A NUL, and the halves of a surrogate pair, which UTF-8 cannot encode.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def read(model: type[Body], *, other_type: type[HTTPException] = UnsupportedMediaType) -> Body:
    """Return the request's JSON object as `model`.

    Raises BadRequest, `other_type` for what is not sent as JSON, and what says that a limit is exceeded.
    """
    data = _data(limits.current().body_size)
    if not data:
        raise BadRequest("The body is empty; send a JSON object.")
    if not flask.request.is_json:
        raise other_type("Send JSON, with Content-Type: application/json.")
    value = json_object(data, "body")
    try:
        body = model.model_validate(value)
    except pydantic.ValidationError as error:
        raise BadRequest(f"The body is not right: {problems(error)}.") from error
    # No object is much larger than the body that has it.
    if len(data) > limits.current().metadata_size:
        for name, part in body:
            if isinstance(part, dict):
                limits.require_size(name, part)
    return body


def _data(limit: int) -> bytes:
    """Return the request's body; raise RequestEntityTooLarge, before it is read where its length is given."""
    # Of a body without a length Werkzeug keeps what is within its limit, and drops the rest without a word.
    flask.request.max_content_length = limit + 1
    try:
        data = flask.request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise limits.too_large("The body", "body_size") from error
    if len(data) > limit:
        raise limits.too_large("The body", "body_size")
    return data


def problems(error: pydantic.ValidationError) -> str:
    """Return what is wrong, the first five of it, in one line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])


def json_object(text: bytes | str, what: str) -> dict[str, Any]:
    """Return the JSON object that `text` is, cleaned; raise BadRequest, or UnprocessableEntity for one that is nested
    too deep, that calls the text `what`.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"The {what} is not valid JSON.") from error
    except RecursionError as error:
        raise _too_deep(what) from error
    if not isinstance(value, dict):
        raise BadRequest(f"The {what} is not a JSON object.")
    cleaned: dict[str, Any] = _clean(value, what, limits.current().json_depth)
    return cleaned


def boolean(text: str, what: str) -> bool:
    """Return whether the text says yes; raise BadRequest, calling it `what`, for what says neither yes nor no."""
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise BadRequest(f"The {what} is {text[:40]!r}, not true or false.")
    return word in _YES


def clean_text(text: str) -> str:
    """Return the text with U+FFFD in the place of every character that cannot be stored."""
    return _UNSTORABLE.sub("\ufffd", text)


def _clean(value: Any, what: str, levels: int) -> Any:
    """Return the JSON value with cleaned texts; numbers that are none (NaN, Infinity) become texts."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict | list) and not levels:
        raise _too_deep(what)
    if isinstance(value, dict):
        return {clean_text(key): _clean(item, what, levels - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, what, levels - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def _too_deep(what: str) -> UnprocessableEntity:
    return UnprocessableEntity(limits.sentence(f"The {what} is nested deeper than", "json_depth", "levels"))
