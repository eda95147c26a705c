"""Rows in the formats of PostgreSQL's COPY: text for tables of plain columns, binary for bytes."""

from __future__ import annotations

import datetime as dt
import json
import struct
import uuid
from collections.abc import Mapping
from typing import Any

BINARY_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
BINARY_END = struct.pack("!h", -1)

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def text_field(value: object) -> str:
    r"""Return one field of COPY's text format; None is \N, mappings are JSON.

    A text must not hold a NUL character, which PostgreSQL cannot store.
    """
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, Mapping):
        # JSON holds no line break or tab as it is, so only its backslashes need care.
        return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\\", "\\\\")
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value)


def text_row(values: tuple[object, ...]) -> str:
    """Return one line of COPY's text format."""
    return "\t".join(map(text_field, values)) + "\n"


def chunk_row(artifact_id: uuid.UUID, position: int, data: bytes) -> bytes:
    """Return one row of `artifact_chunks` in COPY's binary format."""
    return struct.pack("!hi16siii", 3, 16, artifact_id.bytes, 4, position, len(data)) + data


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `over` winning, nested objects merged likewise."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
