"""The filters of a request's list; what cannot be used is a BadRequest."""

from __future__ import annotations

from collections.abc import Sequence

from werkzeug.exceptions import BadRequest, UnprocessableEntity

from ibutsu_server.api import access, limits
from ibutsu_server.store import filters


def parse(text: str) -> filters.Filter:
    """Return the filter that `text` is."""
    try:
        return filters.parse(text)
    except filters.FilterError as error:
        raise BadRequest(str(error)) from error


def conditions(model: filters.Model, texts: Sequence[str]) -> list[filters.Condition]:
    """Return the conditions that the filters put on rows of `model`; all must hold."""
    allowed = limits.current()
    if len(texts) > allowed.filters:
        raise UnprocessableEntity(limits.sentence("The list has more than", "filters", "filters"))
    if any(len(text) > allowed.filter_length for text in texts):
        raise UnprocessableEntity(limits.sentence("A filter is longer than", "filter_length", "characters"))
    try:
        return filters.conditions(access.session(), model, texts)
    except filters.FilterError as error:
        raise BadRequest(str(error)) from error
