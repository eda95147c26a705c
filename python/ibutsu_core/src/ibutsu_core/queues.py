"""The task queue as Redis has it: its keys, and when each message was put there."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from typing import Any

from celery import signals
from kombu.transport.redis import PRIORITY_STEPS, Channel

QUEUED = "ibutsu_queued"
"""The header of a message that says when it was sent, in ISO 8601."""

UNACKNOWLEDGED: str = Channel.unacked_key
"""The hash of the messages that workers have in hand: they run, or wait for their time or a free child."""

WRITTEN = "ibutsu-health"
"""The key that is written to see whether Redis takes writes."""


def note_when_queued() -> None:
    """Have each message that this process sends say when that was."""
    signals.before_task_publish.connect(_note_when_queued)


def _note_when_queued(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[QUEUED] = dt.datetime.now(dt.UTC).isoformat()


def keys(queue: str) -> tuple[str, ...]:
    """Return the keys of the queue's lists, one for each priority. New messages come to the left of a list."""
    return tuple(f"{queue}{Channel.sep}{priority}" if priority else queue for priority in PRIORITY_STEPS)


def queued_at(message: str | bytes) -> dt.datetime | None:
    """Return when the message was sent; None where it does not say, or is none of ours."""
    try:
        return sent_at(json.loads(message)["headers"])
    except (ValueError, KeyError, TypeError):
        return None


def sent_at(headers: Any) -> dt.datetime | None:
    """Return when the message with these headers was sent; None where they do not say."""
    try:
        instant = dt.datetime.fromisoformat(headers[QUEUED])
    except (ValueError, KeyError, TypeError):
        return None
    return instant if instant.utcoffset() is not None else None


def malformed(message: Any) -> str | None:
    """Return what the transport could not read in a message that was JSON, None where it can read all."""
    if not isinstance(message, dict):
        return f"it is no JSON object but {type(message).__name__}"
    properties = message.get("properties")
    if not isinstance(properties, dict):
        return "it has no properties"
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict) or not {"exchange", "routing_key"} <= delivery.keys():
        return "its properties do not say where it was sent"
    if not isinstance(properties.get("delivery_tag"), str):
        return "its properties have no delivery tag"
    if not isinstance(message.get("headers"), dict):
        return "it has no headers"
    body = message.get("body")
    if not isinstance(body, str):
        return "it has no body"
    if properties.get("body_encoding") == "base64":
        try:
            base64.b64decode(body)
        except (binascii.Error, ValueError) as error:
            return f"its body is no base64 ({error})"
    return None
