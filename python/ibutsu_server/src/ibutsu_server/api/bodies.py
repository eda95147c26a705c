"""What clients send: JSON, read strictly, and cleaned of what PostgreSQL cannot store."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import flask
import pydantic
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a JSON body at most."""

MAX_DEPTH = 100
"""Levels of nesting of a JSON body at most."""

Body = TypeVar("Body", bound=pydantic.BaseModel)

_YES = frozenset(("true", "1", "yes", "on"))
_NO = frozenset(("false", "0", "no", "off", ""))

# A NUL, and the halves of a surrogate pair, which UTF-8 cannot encode.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def read(model: type[Body], *, other_type: type[HTTPException] = UnsupportedMediaType) -> Body:
    """Return the request's JSON object as `model`; raise BadRequest, or `other_type` for what is not sent as JSON."""
    flask.request.max_content_length = MAX_BODY
    data = flask.request.get_data(cache=False)
    if not data:
        raise BadRequest("The body is empty; send a JSON object.")
    if not flask.request.is_json:
        raise other_type("Send JSON, with Content-Type: application/json.")
    value = json_object(data, "body")
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        raise BadRequest(f"The body is not right: {problems(error)}.") from error


def problems(error: pydantic.ValidationError) -> str:
    """Return what is wrong, the first five of it, in one line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])


def json_object(text: bytes | str, what: str) -> dict[str, Any]:
    """Return the JSON object that `text` is, cleaned; raise BadRequest that calls the text `what`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The {what} is not valid JSON.") from error
    if not isinstance(value, dict):
        raise BadRequest(f"The {what} is not a JSON object.")
    cleaned: dict[str, Any] = clean(value)
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


def clean(value: Any, depth: int = 0) -> Any:
    """Return the JSON value with cleaned texts; numbers that are none (NaN, Infinity) become texts."""
    if depth > MAX_DEPTH:
        raise BadRequest(f"The JSON is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(key): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value
