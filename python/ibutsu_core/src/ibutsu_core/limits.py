"""What an upload may cost the worker, a request the API, and a login who guesses. Each is a variable too."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

KIB = 1024  # bytes
MIB = 1024 * KIB
GIB = 1024 * MIB
DAY = 24 * 60 * 60  # seconds

LARGEST = 1 << 62
"""What a limit is at most that has no ceiling of its own."""


def _limit(default: int, meaning: str, *, high: int = LARGEST) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning, "high": high})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one upload may cost. Whole numbers from 1. The defaults leave room for any honest report that was seen."""

    prefix: ClassVar[str] = "IBUTSU_IMPORT_MAX_"

    members: int = _limit(500_000, "files and folders in a tar or zip")
    zip_directory: int = _limit(8 * MIB, "bytes of a zip's table of contents, which is held in memory")
    member_size: int = _limit(16 * GIB, "bytes of one file in a tar or zip")
    unpacked_size: int = _limit(64 * GIB, "bytes that an upload may unpack to, all in all")
    ratio: int = _limit(250, "times its own size that an upload may unpack to")
    ratio_free: int = _limit(64 * MIB, "bytes that it may unpack to whatever the ratio")
    path_length: int = _limit(4096, "characters of a path in a tar or zip")
    xml_depth: int = _limit(1000, "XML elements in one another")
    xml_tag: int = _limit(8 * MIB, "bytes of one XML tag with its attributes")
    xml_attributes: int = _limit(10_000, "attributes of one XML tag that is longer than a few pieces of reading")
    xml_text: int = _limit(32 * MIB, "bytes of the texts of one test case, or of a suite, as held in memory")
    xml_names: int = _limit(50_000, "different names of XML elements and attributes in one file")
    json_size: int = _limit(4 * MIB, "bytes of a run.json or result.json")
    json_values: int = _limit(250_000, "values in one of them; a list or object counts twice")
    json_depth: int = _limit(200, "JSON objects and lists in one another")
    metadata_size: int = _limit(16 * MIB, "characters of the properties that one result gets")
    inherited_size: int = _limit(4 * GIB, "characters that suites and the form give to results, over all of them")
    results: int = _limit(10_000_000, "results in one upload")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """What one request may cost. Whole numbers from 1."""

    prefix: ClassVar[str] = "IBUTSU_API_MAX_"

    body_size: int = _limit(16 * MIB, "bytes of a JSON body")
    # pydantic writes no JSON that is nested more than 255 levels deep.
    json_depth: int = _limit(200, "JSON objects and lists in one another", high=200)
    metadata_size: int = _limit(4 * MIB, "bytes of a JSON object such as `metadata`, also after an update is merged")
    field_size: int = _limit(MIB, "bytes of a text field of a form")
    upload_size: int = _limit(4 * GIB, "bytes of an upload to import")
    artifact_size: int = _limit(64 * MIB, "bytes of an artifact that is uploaded alone")
    page_size: int = _limit(10_000, "entries on a page", high=(1 << 31) - 1)
    page_bytes: int = _limit(32 * MIB, "bytes of the entries on a page that a request answers, unless it is one")
    filters: int = _limit(50, "filters of a list")
    filter_length: int = _limit(4096, "characters of a filter")
    query_time: int = _limit(30, "seconds that a query takes, the count of a list included", high=DAY)
    lock_time: int = _limit(10, "seconds that a query waits for what another changes", high=DAY)
    client_time: int = _limit(60, "seconds that a request waits for a client that sends and takes nothing", high=DAY)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoginLimits:
    """How often a password may be guessed. Whole numbers from 1."""

    prefix: ClassVar[str] = "IBUTSU_LOGIN_"

    max_account_failures: int = _limit(10, "failed logins with one e-mail address within the window", high=100_000)
    max_address_failures: int = _limit(300, "failed logins from one client address within the window", high=100_000)
    window: int = _limit(15 * 60, "seconds that a failed login counts", high=DAY)


def variable_of(field: str, limits: type[Limits | ApiLimits | LoginLimits] = Limits) -> str:
    """Return the name of the variable that sets a field of the limits."""
    return limits.prefix + field.upper()
