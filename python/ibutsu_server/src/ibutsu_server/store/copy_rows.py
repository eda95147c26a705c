"""Rows in the binary format of PostgreSQL's COPY, made from records without a statement or an object a row."""

from __future__ import annotations

import datetime as dt
import json
import struct
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from ibutsu_core.records import OUTCOMES, ResultRecord
from ibutsu_server.store.copy_format import chunk_head
from ibutsu_server.store.metadata import merged

RESULT_COLUMNS = (
    "id, run_id, project_id, test_id, result, start_time, duration, source, component, env, metadata, params"
)
ARTIFACT_COLUMNS = "id, result_id, run_id, filename, upload_date, size"
CHUNK_COLUMNS = "artifact_id, position, data"

REMEMBERED = 1000
"""File names whose fields are kept for the rows that repeat them."""

_NULL = struct.pack("!i", -1)
_UUID_LENGTH = struct.pack("!i", 16)
_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)

_length = struct.Struct("!i").pack
_number = struct.Struct("!id").pack
_whole = struct.Struct("!iq").pack
_artifact_head = struct.Struct("!hi16s").pack
_json_head = struct.Struct("!ib").pack
_RESULT_HEAD = struct.pack("!hi", 12, 16)


def text(value: str | None) -> bytes:
    """Return a field of type text. The value must not hold a NUL character, which PostgreSQL cannot store."""
    if value is None:
        return _NULL
    data = value.encode()
    return _length(len(data)) + data


def identity(value: uuid.UUID | None) -> bytes:
    """Return a field of type uuid."""
    return _NULL if value is None else _UUID_LENGTH + value.bytes


def instant(value: dt.datetime | None) -> bytes:
    """Return a field of type timestamptz: microseconds since the year 2000."""
    return _NULL if value is None else _whole(8, (value - _EPOCH) // _MICROSECOND)


def jsonb(value: Mapping[str, Any] | None) -> bytes:
    """Return a field of type jsonb: a version and the text."""
    if value is None:
        return _NULL
    data = as_json(value)
    return _json_head(len(data) + 1, 1) + data


def as_json(value: Mapping[str, Any]) -> bytes:
    """Return the value as JSON in UTF-8."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # It has integers of more than 64 bits, which JSON and PostgreSQL allow.
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


class ArtifactRows:
    """Rows of ARTIFACT_COLUMNS and CHUNK_COLUMNS for artifacts of one upload date. Ids are the 16 bytes of them."""

    def __init__(self, upload_date: dt.datetime) -> None:
        self._date = instant(upload_date)
        self._names: dict[str, bytes] = {}

    def row(
        self, artifact_id: bytes, *, result_id: uuid.UUID | None, run_id: uuid.UUID | None, filename: str, size: int
    ) -> bytes:
        """Return the artifact's row; `size` is in bytes."""
        names = self._names
        if len(names) > REMEMBERED:
            names.clear()
        name = names.get(filename)
        if name is None:
            name = names[filename] = text(filename) + self._date
        owners = identity(result_id) + identity(run_id)
        return b"".join((_artifact_head(6, 16, artifact_id), owners, name, _whole(8, size)))

    @staticmethod
    def chunk(artifact_id: bytes, position: int, data: bytes) -> bytes:
        """Return the row of one of its chunks."""
        return chunk_head(artifact_id, position, len(data)) + data


_OUTCOMES = {outcome: text(outcome) for outcome in OUTCOMES}


class ResultRows:
    """Rows of RESULT_COLUMNS for the results of one run.

    `start` is the time of results that have none. What the other arguments say is put in place of a result's own.
    A field that a result has in common with the one before, by the very same object, is encoded once.
    """

    def __init__(
        self,
        run_id: uuid.UUID,
        project_id: uuid.UUID | None,
        *,
        start: dt.datetime,
        source: str | None = None,
        component: str | None = None,
        env: str | None = None,
        metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._owners = identity(run_id) + identity(project_id)
        self._instead = source, component, env
        self._over = metadata
        self._default_start = start
        self._start: dt.datetime | None = None
        self._start_field = instant(start)
        self._place: tuple[str | None, ...] = ()
        self._place_fields = b""
        self._metadata: dict[str, Any] | None = None
        self._metadata_field = b""

    def row(self, result: ResultRecord) -> bytes:
        """Return the result's row."""
        id_bytes, _, test_id, outcome, start, duration, source, metadata, component, env, params = result
        if start is not self._start:
            self._start, self._start_field = start, instant(start or self._default_start)
        place = (source, component, env)
        if place != self._place:
            self._place = place
            self._place_fields = b"".join([text(over or own) for over, own in zip(self._instead, place, strict=True)])
        if metadata is not self._metadata:
            self._metadata, self._metadata_field = metadata, jsonb(merged(metadata, self._over))
        name = test_id.encode()
        return b"".join(
            (
                _RESULT_HEAD,
                id_bytes,
                self._owners,
                _length(len(name)),
                name,
                _OUTCOMES[outcome],
                self._start_field,
                _number(8, duration),
                self._place_fields,
                self._metadata_field,
                _NULL if params is None else jsonb(params),
            )
        )
