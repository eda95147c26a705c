"""Equality in the form that the indexes of runs and results have, and those indexes.

Texts can be megabytes long, and an index entry cannot; so the indexes hold their first PREFIX characters. Metadata is
in a GIN index of what containment (`@>`) can ask for, without the keys that are different in nearly every result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

Condition = sa.ColumnElement[bool]

TEXTS = ("test_id", "component", "env", "source")
"""The columns whose first characters are in an index."""

PREFIX = 200

UNINDEXED = ("durations", "short_tb", "statuses", "node_id")
"""Keys of the metadata that would be most of the index and of its cost; a filter on them looks at row after row."""

# An index in an array and a key look alike, and deeper documents are no metadata.
_POSITION = re.compile(r"-?[0-9]+")
_DEEPEST = 50

# The only text that a number can have in jsonb; PostgreSQL's numbers end soon after.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,999})(?:\.[0-9]{1,999})?")


def prefix_sql(column: str) -> str:
    """Return the index's expression for the start of a text."""
    return f'"left"({column}, {PREFIX})'


_KEYS = f"'{{{','.join(UNINDEXED)}}}'::text[]"

METADATA_SQL = f"(metadata - {_KEYS})"
"""The index's expression for the metadata."""


def text_in(column: Any, values: Sequence[str]) -> Condition:
    """Return the condition that the column is one of the values."""
    start = sa.func.left(column, sa.literal_column(str(PREFIX)), type_=sa.Text)
    found = start.in_(sorted({value[:PREFIX] for value in values}))
    if all(len(value) < PREFIX for value in values):
        return found
    return sa.and_(found, column.in_(values))


def text_at(data: Any, parts: Sequence[str]) -> sa.ColumnElement[str]:
    """Return the text of what the metadata has at the path, null where it has nothing or null."""
    return sa.func.jsonb_extract_path_text(data, *parts, type_=sa.Text)


def has_value(data: Any, parts: Sequence[str], value: str) -> Condition:
    """Return the condition that the metadata has the value at the path, compared as text."""
    text = text_at(data, parts) == value
    if (
        parts[0] in UNINDEXED
        or len(parts) > _DEEPEST
        or any(_POSITION.fullmatch(part) for part in parts[1:])
        or value.startswith(("[", "{"))
    ):
        return text
    leaves = [json.dumps(value)]
    if value in ("true", "false") or _NUMBER.fullmatch(value):
        leaves.append(value)
    # The text has the last word: 7.0 is the number 7, but not its text. It stands first, since it is quick to compare.
    # The planner knows how frequent what the index contains is, and nothing of the text: by itself it would take that
    # for one in two hundred, and so use the index for what nearly all rows have; in coalesce, for one in two.
    contained = sa.or_(*(_contains(data, parts, leaf) for leaf in leaves))
    return sa.and_(sa.func.coalesce(text, sa.false()), contained)


def has_element(data: Any, parts: Sequence[str], value: str) -> Condition:
    """Return the condition that the array at the path has the value as an element, or as the `name` of one.

    Where there is no array the value is compared as text.
    """
    quoted = json.dumps(value)
    elements = [quoted, f'{{"name": {quoted}}}', *([value] if _NUMBER.fullmatch(value) else [])]
    found = sa.or_(has_value(data, parts, value), *(_contains(data, parts, f"[{element}]") for element in elements))
    return sa.and_(sa.func.coalesce(data.has_key(parts[0]), sa.false()), found)


def _contains(data: Any, parts: Sequence[str], leaf: str) -> Condition:
    for part in reversed(parts):
        leaf = f"{{{json.dumps(part)}: {leaf}}}"
    keys: sa.ColumnElement[Any] = sa.literal_column(_KEYS)
    indexed = data.op("-", return_type=JSONB())(keys)
    found: Condition = indexed.op("@>", is_comparison=True)(sa.cast(sa.literal(leaf, sa.Text), JSONB))
    return found
