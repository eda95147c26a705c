"""What one upload may cost. The defaults leave room for any honest report that the authors have seen."""

from __future__ import annotations

import dataclasses

KIB = 1024  # bytes
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes are in bytes unless said otherwise. What goes beyond a limit is refused with a `ReportError`."""

    members: int = 500_000  # files and folders in a tar
    zip_directory: int = 8 * MIB  # the table of contents of a zip, which is held in memory
    member_size: int = 16 * GIB
    unpacked_size: int = 64 * GIB  # all members, or all of the XML, together
    ratio: int = 250  # unpacked to packed size, looked at once `ratio_free` bytes are unpacked
    ratio_free: int = 64 * MIB
    path_length: int = 4096  # characters
    xml_depth: int = 1000  # elements in elements
    xml_tag: int = 3 * MIB  # one tag with its attributes
    xml_text: int = 32 * MIB  # the texts of one test case, or of a suite, as held in memory
    xml_names: int = 50_000  # different names of elements and attributes in one file
    json_size: int = 4 * MIB  # a run.json or result.json
    json_values: int = 250_000  # in one of them; a list or object counts twice
    json_depth: int = 200  # objects and lists in one another
    metadata_size: int = 16 * MIB  # characters of the properties that one result gets
    inherited_size: int = 4 * GIB  # characters of the properties that suites hand down, over all results
    results: int = 10_000_000
