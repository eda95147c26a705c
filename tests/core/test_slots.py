"""The slot that a message carries."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibutsu_core.slots import Slot

instants = st.datetimes(timezones=st.just(dt.UTC))
NOW = "2026-05-16T04:00:00+00:00"


@given(st.text(), instants, instants)
def test_a_slot_comes_out_of_a_message_as_it_went_in(entry: str, due: dt.datetime, sent: dt.datetime) -> None:
    slot = Slot(entry, due, sent)
    assert Slot.of({"celery_beat_task": True, **json.loads(json.dumps(slot.headers()))}) == slot


@pytest.mark.parametrize("headers", [None, {}, {"celery_beat_task": True}])
def test_a_message_that_no_scheduler_made_has_no_slot(headers: dict[str, Any] | None) -> None:
    assert Slot.of(headers) is None


@pytest.mark.parametrize("due", [None, 5, "tomorrow", "2026-05-16T04:00:00"])
def test_headers_that_are_broken_are_refused_rather_than_taken_for_none(due: object) -> None:
    with pytest.raises(ValueError, match="ibutsu_slot"):
        Slot.of({"ibutsu_entry": "e", "ibutsu_slot": due, "ibutsu_sent": NOW})
