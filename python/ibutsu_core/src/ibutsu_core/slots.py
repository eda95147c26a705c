"""What the message of a periodic task says of its slot, beside the task's arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

_ENTRY, _DUE, _SENT = "ibutsu_entry", "ibutsu_slot", "ibutsu_sent"


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """That `entry` is due at `due`, and when a scheduler sent it; the times are aware."""

    entry: str
    due: datetime
    sent: datetime

    def headers(self) -> dict[str, str]:
        """Return the headers that carry the slot in a message."""
        return {_ENTRY: self.entry, _DUE: self.due.isoformat(), _SENT: self.sent.isoformat()}

    @classmethod
    def of(cls, headers: Mapping[str, Any] | None) -> Self | None:
        """Return the slot that the headers of a message carry, None for a task that is not periodic.

        Raises ValueError for headers that no scheduler made.
        """
        if not headers or _ENTRY not in headers:
            return None
        try:
            slot = cls(str(headers[_ENTRY]), *(datetime.fromisoformat(headers[name]) for name in (_DUE, _SENT)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"The message's headers {_DUE} and {_SENT} are no times: {error}.") from error
        if slot.due.utcoffset() is None or slot.sent.utcoffset() is None:
            raise ValueError(f"The message's headers {_DUE} and {_SENT} have no time zone.")
        return slot
