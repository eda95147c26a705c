"""Which revision the schema has and should have, for processes that have no Alembic."""

from __future__ import annotations

import functools
from pathlib import Path

_VERSIONS = Path(__file__).parent / "migrations" / "versions"

CURRENT = "SELECT version_num FROM alembic_version"
"""The statement that gives the database's revision; there is no such table where there is no schema."""

UNDEFINED_TABLE = "42P01"


@functools.cache
def expected() -> str:
    """Return the newest revision that this version has; revisions are numbers of four digits, in their order."""
    return max(path.name[:4] for path in _VERSIONS.glob("[0-9][0-9][0-9][0-9]_*.py"))


def difference(revision: str | None) -> str | None:
    """Return a sentence for a revision that this version cannot work with, None for one that it can.

    A newer one is fine: while a new version is rolled out, it migrates the schema before the old one is gone.
    """
    if revision is None:
        return "The database has no schema yet; `ibutsu db upgrade` makes it."
    if revision < expected():
        return f"The schema is at {revision}, but must be at {expected()}; `ibutsu db upgrade` brings it there."
    return None
