"""Numbers, times and names, as test tools write them."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import re
import uuid
from collections.abc import Callable

import uuid_utils

# Tools that have no time write the zero of their clock: year 1 (Go, .NET) or 1970.
EARLIEST_YEAR = 1980

LONGEST = 1e12
"""Seconds; what claims to have taken longer says nothing."""

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+\Z")
_ZONE_NAME = re.compile(r"(?<=[\d.]) [A-Z]{1,5}\Z")  # as TestNG writes one; only that of UTC is known for certain
_EPOCH = re.compile(r"\d{10}(?:\d{3})?(?:\.\d+)?\Z")
_UUID4 = re.compile(
    r"(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)


def seconds(text: str | None) -> float:
    """The duration that `text` gives, 0.0 for none: `1,234.5`, `0,25`, `1.5s`.

    What is negative, longer than LONGEST or no number counts as none.
    """
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = _odd_number(text)
    return value if 0.0 < value <= LONGEST else 0.0


def _odd_number(text: str) -> float:
    text = text.strip().lower().removesuffix("s").rstrip().replace("'", "").replace("\xa0", "")
    comma, dot = text.rfind(","), text.rfind(".")
    if comma > dot >= 0 or (dot < 0 <= comma and not _THOUSANDS.match(text)):
        text = text.replace(".", "").replace(",", ".")
    else:
        text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        return 0.0


def instant(text: str | None) -> dt.datetime | None:
    """The time that `text` gives, in UTC, a time without an offset being UTC; None for none, or for a clock's zero."""
    if not text:
        return None
    text = text.strip()
    value: dt.datetime | None = None
    with contextlib.suppress(ValueError, OverflowError, TypeError, OSError, IndexError):
        if _EPOCH.match(text):
            number = float(text)
            value = dt.datetime.fromtimestamp(number / 1000 if number >= 1e11 else number, dt.UTC)
        elif text[:1].isdigit():
            value = dt.datetime.fromisoformat(_ZONE_NAME.sub("", text))
        else:
            value = email.utils.parsedate_to_datetime(text)
    if value is None:
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=dt.UTC)
    try:
        value = value.astimezone(dt.UTC)
    except OverflowError:
        return None
    return value if value.year >= EARLIEST_YEAR else None


def test_id(classname: str | None, name: str | None) -> str:
    """The last dotted part of the class name, a dot, the whole name; what is missing is left out."""
    last = classname.rpartition(".")[2] if classname else ""
    if last and name:
        return f"{last}.{name}"
    return name or last or "(unnamed)"


def uuid_in(filename: str) -> uuid.UUID | None:
    """The first version 4 UUID in a file's name."""
    found = _UUID4.search(filename)
    return uuid.UUID(found.group()) if found else None


def as_uuid(text: str) -> uuid.UUID | None:
    """The UUID that `text` is, in its usual form, or None."""
    return uuid.UUID(text) if _UUID.match(text) else None


def uuid5_maker(namespace: uuid.UUID) -> Callable[[int], bytes]:
    """The bytes of `uuid.uuid5(namespace, str(index))`, as a function of the index."""
    compiled = uuid_utils.UUID(str(namespace))
    uuid5 = uuid_utils.uuid5

    def make(index: int) -> bytes:
        return uuid5(compiled, str(index)).bytes

    return make
