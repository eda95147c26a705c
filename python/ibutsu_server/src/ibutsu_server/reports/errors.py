"""The one exception of the readers."""

from __future__ import annotations

from ibutsu_core.limits import variable_of

# Characters of a file's or member's name, and of a reason, that a sentence shows.
NAME_LENGTH = 200
REASON_LENGTH = 600


class ReportError(Exception):
    """The report cannot be imported, now or later. `str()` is one sentence: the file, the place, the reason.

    `limit` is the field of `Limits` that it goes beyond, if that is the reason.
    """

    def __init__(
        self,
        reason: str,
        *,
        filename: str | None = None,
        member: str | None = None,
        line: int | None = None,
        limit: str | None = None,
    ) -> None:
        if limit is not None:
            reason = f"{reason}; {variable_of(limit)} sets this limit"
        super().__init__(reason)
        self.reason = shown(reason, REASON_LENGTH)
        self.filename = filename
        self.member = member
        self.line = line

    def __str__(self) -> str:
        place = [shown(self.filename, NAME_LENGTH)] if self.filename else []
        if self.member:
            place.append(f"member {shown(self.member, NAME_LENGTH)}")
        if self.line is not None:
            place.append(f"line {self.line}")
        sentence = f"{', '.join(place)}: {self.reason}" if place else self.reason
        return sentence if sentence.endswith(".") else f"{sentence}."


def shown(text: str, length: int) -> str:
    """`text` as a part of a sentence: on one line, nothing unprintable, cut in the middle when it is long."""
    if len(text) > length:
        text = f"{text[: length // 2]}…{text[-(length // 2) :]}"
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)
