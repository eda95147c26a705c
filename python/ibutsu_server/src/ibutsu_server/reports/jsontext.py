"""JSON from an archive, checked, and cleaned of what PostgreSQL cannot hold."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from ibutsu_server.reports.errors import ReportError, shown
from ibutsu_server.reports.limits import Limits
from ibutsu_server.reports.values import LONGEST

_UNHOLDABLE = re.compile("[\x00\ud800-\udfff]")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+["\\]?', re.DOTALL)

_KINDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _marks(text: str) -> int:
    """At least the number of values, when `text` is JSON; each may take a hundred times the bytes that it is."""
    return text.count(",") + text.count("[") + text.count("{")


class JsonObject:
    """A JSON object of one member, whose fields have the types that are asked for."""

    def __init__(self, data: bytes, member: str, limits: Limits) -> None:
        self._member = member
        try:
            value = self._parsed(data, limits.json_values)
        except json.JSONDecodeError as error:
            raise ReportError(f"its JSON is broken: {error.msg}", member=member, line=error.lineno) from error
        except (ValueError, RecursionError) as error:
            reason = "nested too deep" if isinstance(error, RecursionError) else shown(str(error), 200)
            raise ReportError(f"its JSON cannot be read: {reason}", member=member) from error
        if not isinstance(value, dict):
            self._refuse(f"it holds {_KINDS[type(value)]}, not an object")
        self.values: dict[str, Any] = self._clean(value, limits.json_depth)

    def _parsed(self, data: bytes, most: int) -> Any:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        if _marks(text) > most and _marks(_STRING.sub("", text)) > most:
            self._refuse(f"its JSON has more than {most:,} values", limit="json_values")
        return json.loads(text)

    def _refuse(self, reason: str, limit: str | None = None) -> NoReturn:
        raise ReportError(reason, member=self._member, limit=limit)

    def _clean(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return value if value.isascii() and "\0" not in value else _UNHOLDABLE.sub("\ufffd", value)
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, dict | list):
            if depth <= 0:
                self._refuse("its objects and lists are nested too deep", limit="json_depth")
            if isinstance(value, list):
                return [self._clean(item, depth - 1) for item in value]
            return {self._clean(key, 0): self._clean(item, depth - 1) for key, item in value.items()}
        return value

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            self._wrong(key, value, "a string")
        return value

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong(key, value, "a number")
        # The sum of a run's durations must be a number too.
        if value > LONGEST:
            self._refuse(f'"{key}" is too large a number')
        return max(0.0, float(value))

    def mapping(self, key: str) -> dict[str, Any] | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            self._wrong(key, value, "an object")
        return value

    def _wrong(self, key: str, value: object, expected: str) -> NoReturn:
        self._refuse(f'"{key}" is {_KINDS[type(value)]}, not {expected}')
