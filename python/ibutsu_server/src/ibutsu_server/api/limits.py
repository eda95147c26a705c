"""What a request may cost, and the sentence for what costs more: it names the limit and the variable that sets it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import flask
from werkzeug.exceptions import RequestEntityTooLarge, UnprocessableEntity

from ibutsu_core.limits import ApiLimits, variable_of
from ibutsu_server.store import metadata


def current() -> ApiLimits:
    """Return the application's limits."""
    return cast("ApiLimits", flask.current_app.extensions["ibutsu_settings"].api_limits)


def sentence(what: str, field: str, unit: str) -> str:
    """Return `what`, the limit of that name with its unit, and how it is changed."""
    return f"{what} {getattr(current(), field)} {unit}; {variable_of(field, ApiLimits)} sets this limit."


def too_large(what: str, field: str) -> RequestEntityTooLarge:
    """Return the answer to `what` having more bytes than the limit of that name."""
    return RequestEntityTooLarge(sentence(f"{what} is larger than", field, "bytes"))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata with what an update adds; raise UnprocessableEntity where that makes it too large."""
    result = metadata.merged(base, over)
    require_size("metadata", result)
    return result


def require_size(what: str, value: object) -> None:
    """Raise UnprocessableEntity where `value`, as JSON, is larger than metadata may be."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > current().metadata_size:
        raise UnprocessableEntity(sentence(f"The object `{what}` is larger than", "metadata_size", "bytes"))
