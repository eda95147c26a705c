"""The filters of a request's list; what cannot be used is a BadRequest."""

from __future__ import annotations

from collections.abc import Sequence

from werkzeug.exceptions import BadRequest

from ibutsu_server.api import access
from ibutsu_server.store import filters


def parse(text: str) -> filters.Filter:
    """Return the filter that `text` is."""
    try:
        return filters.parse(text)
    except filters.FilterError as error:
        raise BadRequest(str(error)) from error


def conditions(model: filters.Model, texts: Sequence[str]) -> list[filters.Condition]:
    """Return the conditions that the filters put on rows of `model`; all must hold."""
    try:
        return filters.conditions(access.session(), model, texts)
    except filters.FilterError as error:
        raise BadRequest(str(error)) from error
