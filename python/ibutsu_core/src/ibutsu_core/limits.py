"""What one upload may cost the worker that reads it. Each limit is a variable of the environment too."""

from __future__ import annotations

import dataclasses
from typing import Any

KIB = 1024  # bytes
MIB = 1024 * KIB
GIB = 1024 * MIB

PREFIX = "IBUTSU_IMPORT_MAX_"


def _limit(default: int, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Whole numbers from 1. The defaults leave room for any honest report that the authors have seen."""

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
    inherited_size: int = _limit(4 * GIB, "characters of the properties that suites hand down, over all results")
    results: int = _limit(10_000_000, "results in one upload")


def variable_of(field: str) -> str:
    """Return the name of the variable that sets a field of Limits."""
    return PREFIX + field.upper()
