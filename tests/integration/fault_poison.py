"""Messages on the queue that no sender of tasks writes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from ibutsu_core.celery_utils import QUEUE

TASK = "ibutsu_server.tasks.importers.import_results"


def envelope(**changes: Any) -> str:
    """Make a message as Celery writes it, with something wrong."""
    tag = str(uuid.uuid4())
    message: dict[str, Any] = {
        "body": "W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsfV0=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": tag, "task": TASK, "lang": "py", "root_id": tag},
        "properties": {
            "correlation_id": tag, "delivery_mode": 2, "delivery_tag": tag, "body_encoding": "base64", "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
        },
    }  # fmt: skip
    headers = changes.pop("headers", {})
    message = {**message, **changes}
    if message["headers"] is not None:
        message["headers"] = {**message["headers"], **headers}
    return json.dumps({name: value for name, value in message.items() if value is not ...})


POISON: dict[str, Callable[[], str | bytes]] = {
    "no JSON": lambda: "this is no message",
    "no UTF-8": lambda: b"\xff\xfe\x00",
    "no object": lambda: "[1, 2]",
    "an empty object": lambda: "{}",
    "no properties": lambda: envelope(properties=...),
    "properties that are none": lambda: envelope(properties=7),
    "no headers": lambda: envelope(headers_=1).replace('"headers"', '"other"'),
    "no body": lambda: envelope(body=...),
    "a body that is no base64": lambda: envelope(body="%%%"),
    "a body that is no JSON": lambda: envelope(body="bm90aGluZw=="),
    "a body that is a number": lambda: envelope(body="Nw=="),
    "a pickle": lambda: envelope(**{"content-type": "application/x-python-serialize", "content-encoding": "binary"}),
    "an unknown type": lambda: envelope(**{"content-type": "application/x-nothing"}),
    "an unknown task": lambda: envelope(headers={"task": "ibutsu_server.tasks.nothing"}),
    "a task that is no name": lambda: envelope(headers={"task": 7}),
    "no arguments": envelope,
    "an eta that is none": lambda: envelope(headers={"eta": "tomorrow"}),
    "retries that are no number": lambda: envelope(headers={"retries": "many"}),
    "a compression that is unknown": lambda: envelope(headers={"compression": "nothing"}),
    "a huge body": lambda: envelope(body="A" * (64 << 20)),
}
