"""Multipart bodies as a stream of parts: nothing is held in memory or on disk but what the caller keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import flask
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    UnprocessableEntity,
    UnsupportedMediaType,
)
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from ibutsu_server.api import limits
from ibutsu_server.api.bodies import clean_text, json_object

CHUNK = 64 * 1024
"""Bytes read at once."""

MAX_HEADERS = 1024 * 1024
"""Bytes of a part's headers at most."""

MAX_PARTS = 100
"""Parts of a body at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One part of the body; `filename` is None for a text. `chunks` is read before the next part is asked for."""

    name: str
    filename: str | None
    chunks: Iterator[bytes]

    def text(self) -> str:
        """Return the part as text, cleaned; raise BadRequest or RequestEntityTooLarge."""
        return self._text("field_size", RequestEntityTooLarge)

    def json_object(self) -> dict[str, Any] | None:
        """Return the part as a JSON object, cleaned, None for an empty one; raise BadRequest or UnprocessableEntity."""
        text = self._text("metadata_size", UnprocessableEntity)
        return json_object(text, f"field `{self.name}`") if text else None

    def stored(self, what: str, limit: str) -> Iterator[bytes]:
        """Yield the part's bytes; raise RequestEntityTooLarge, calling it `what`, where it is over that limit."""
        size = 0
        for chunk in self.chunks:
            size += len(chunk)
            if size > getattr(limits.current(), limit):
                raise limits.too_large(what, limit)
            yield chunk

    def _text(self, limit: str, refusal: type[HTTPException]) -> str:
        content = bytearray()
        for chunk in self.chunks:
            content += chunk
            if len(content) > getattr(limits.current(), limit):
                raise refusal(limits.sentence(f"The field {self.name!r} is larger than", limit, "bytes"))
        try:
            return clean_text(content.decode())
        except UnicodeDecodeError as error:
            raise BadRequest(f"The field {self.name!r} is not UTF-8 text.") from error


def parts(request: flask.Request, what: str, limit: str) -> Iterator[Part]:
    """Yield the parts of the request's body as they arrive; raise BadRequest when it is malformed or cut off.

    A body that cannot but hold a file over that limit is RequestEntityTooLarge, which calls it `what`: before it is
    read, where the request says how long it is.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data.")
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary or not boundary.isascii():
        raise BadRequest("The Content-Type names no boundary.")
    allowed = limits.current()
    request.max_content_length = getattr(allowed, limit) + allowed.metadata_size + allowed.field_size + MAX_HEADERS
    decoder = MultipartDecoder(boundary.encode(), MAX_HEADERS + CHUNK, max_parts=MAX_PARTS)
    events = _events(decoder, request, limits.too_large(what, limit))
    for event in events:
        if isinstance(event, Field | File):
            filename = clean_text(event.filename) if isinstance(event, File) else None
            part = Part(event.name or "", filename, _content(events))
            yield part
            for _ in part.chunks:
                pass


def _content(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, Data):
            yield event.data
            if not event.more_data:
                return


def _events(decoder: MultipartDecoder, request: flask.Request, too_large: HTTPException) -> Iterator[Event]:
    while True:
        try:
            data = request.stream.read(CHUNK)
        except RequestEntityTooLarge as error:
            raise too_large from error
        except OSError as error:
            raise ClientDisconnected from error
        try:
            decoder.receive_data(data or None)
            while not isinstance(event := decoder.next_event(), NeedData):
                yield event
                if isinstance(event, Epilogue):
                    return
        except RequestEntityTooLarge as error:
            raise RequestEntityTooLarge(
                f"The form has more than {MAX_PARTS} parts, or one whose headers are larger than {MAX_HEADERS} bytes."
            ) from error
        except ValueError as error:
            raise BadRequest("The multipart body is malformed or was cut off.") from error
