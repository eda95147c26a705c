"""What the objects of all resources share: their bases, the kinds of their fields, and pages."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

_NUMBER = re.compile(r"[-+]?[0-9.]+")


def _text(value: object) -> object:
    # A text that is but a number pydantic takes for the seconds since 1970: "2024" would be a time of that year.
    if not isinstance(value, str | dt.datetime) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        raise ValueError("Input should be a time in ISO 8601, as a string")
    return value


def _utc(value: dt.datetime) -> dt.datetime:
    try:
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("Input should be a time in the years 1 to 9999") from error


Instant = Annotated[dt.datetime, BeforeValidator(_text), AfterValidator(_utc)]
Text = Annotated[str, Strict()]
Name = Annotated[str, Strict(), StringConstraints(min_length=1, max_length=255)]
Email = Annotated[str, Strict(), StringConstraints(max_length=255, pattern=r"^[^@\s]+@[^@\s]+$")]
Password = Annotated[str, Strict(), StringConstraints(min_length=1, max_length=1024)]
Flag = Annotated[bool, Strict()]
# The sum of all durations of a run must fit too.
Seconds = Annotated[float, Strict(), Field(ge=-1e12, le=1e12, allow_inf_nan=False)]


# A parameter of an address can be absent, but never null.
Absent = SkipJsonSchema[None]
Whole = Annotated[int, Strict(), Field(ge=-(2**31), le=2**31 - 1)]
Upload = Annotated[object, WithJsonSchema({"type": "string", "format": "binary"})]


class In(BaseModel):
    """What a client sends; unknown keys are ignored, and null counts as absent."""

    model_config = ConfigDict(extra="ignore")

    def given(self, *names: str) -> dict[str, Any]:
        """Return those of the named fields that were sent and are not null."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Out(BaseModel):
    """What a client gets, made from a row."""

    model_config = ConfigDict(from_attributes=True)


class Pagination(Out):
    """Which part of a list an answer holds."""

    page: int
    pageSize: int  # noqa: N815 - the contract's name
    totalItems: int  # noqa: N815
    totalPages: int  # noqa: N815


class Error(Out):
    """What went wrong, as a sentence."""

    detail: str


class Message(Out):
    """What was done, as a sentence."""

    message: str


class PageQuery(In):
    """Which part of a list is asked for."""

    page: int = Field(1, le=2**31 - 1, ge=-(2**31), description="The number of the page, from 1.")
    pageSize: int = Field(25, ge=1, le=2**31 - 1, description="Entries on a page.")  # noqa: N815


class FilterQuery(PageQuery):
    """Which part of a list with filters is asked for."""

    filter: list[str] = Field([], description="`<field><operator><value>`; all must hold.")
