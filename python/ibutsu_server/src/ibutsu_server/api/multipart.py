"""Multipart bodies as a stream of parts: nothing is held in memory or on disk but what the caller keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import flask
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from ibutsu_server.api.bodies import clean_text

CHUNK = 64 * 1024
"""Bytes read at once."""

MAX_TEXT = 1024 * 1024
"""Bytes of a text part, and of a part's headers, at most."""

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
        content = bytearray()
        for chunk in self.chunks:
            content += chunk
            if len(content) > MAX_TEXT:
                raise RequestEntityTooLarge(f"The field {self.name!r} is larger than {MAX_TEXT} bytes.")
        try:
            return clean_text(content.decode())
        except UnicodeDecodeError as error:
            raise BadRequest(f"The field {self.name!r} is not UTF-8 text.") from error


def parts(request: flask.Request) -> Iterator[Part]:
    """Yield the parts of the request's body as they arrive; raise BadRequest when it is malformed or cut off."""
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data.")
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary or not boundary.isascii():
        raise BadRequest("The Content-Type names no boundary.")
    decoder = MultipartDecoder(boundary.encode(), MAX_TEXT + CHUNK, max_parts=MAX_PARTS)
    events = _events(decoder, request)
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


def _events(decoder: MultipartDecoder, request: flask.Request) -> Iterator[Event]:
    while True:
        try:
            data = request.stream.read(CHUNK)
        except OSError as error:
            raise ClientDisconnected from error
        try:
            decoder.receive_data(data or None)
            while not isinstance(event := decoder.next_event(), NeedData):
                yield event
                if isinstance(event, Epilogue):
                    return
        except ValueError as error:
            raise BadRequest("The multipart body is malformed or was cut off.") from error
