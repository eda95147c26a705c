"""What is on the queue and no message is known before Celery's transport reads it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual import Channel, Message

from ibutsu_core.queues import malformed

MESSAGE: dict[str, Any] = {
    "body": "W10=",
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {"id": "1", "task": "a.task"},
    "properties": {
        "delivery_tag": "tag",
        "delivery_info": {"exchange": "", "routing_key": "ibutsu"},
        "body_encoding": "base64",
    },
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
places = st.sampled_from(
    [(), ("body",), ("headers",), ("properties",), ("properties", "delivery_info"), ("properties", "delivery_tag")]
)


def test_a_message_of_celerys_is_none() -> None:
    assert malformed(MESSAGE) is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _: [1, 2], "it is no JSON object but list"),
        (lambda message: message.pop("properties") and message, "it has no properties"),
        (lambda message: message | {"properties": {}}, "its properties do not say where it was sent"),
        (lambda message: message | {"headers": None}, "it has no headers"),
        (lambda message: message | {"body": 7}, "it has no body"),
        (lambda message: message | {"body": "W10"}, "its body is no base64 (Incorrect padding)"),
    ],
)
def test_what_is_wrong_is_said(change: Any, problem: str) -> None:
    assert malformed(change(copy.deepcopy(MESSAGE))) == problem


@given(places, values)
def test_what_has_the_shape_of_a_message_is_read_by_the_transport(place: tuple[str, ...], value: Any) -> None:
    message = copy.deepcopy(MESSAGE)
    if place:
        target = message
        for name in place[:-1]:
            target = target[name]
        target[place[-1]] = value
    else:
        message = value
    if malformed(message) is None:
        read = Message(json.loads(json.dumps(message)), channel=Channel.__new__(Channel))
        assert read.delivery_tag == message["properties"]["delivery_tag"]
        assert {"exchange", "routing_key"} <= read.delivery_info.keys()
