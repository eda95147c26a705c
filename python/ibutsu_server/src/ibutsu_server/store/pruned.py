"""What retention deleted, or would delete."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import sqlalchemy as sa


@dataclasses.dataclass(slots=True)
class Tally:
    """Rows of one table that were deleted, or would be, with the ages of the oldest and the newest of them."""

    gone: int = 0
    bytes: int = 0
    oldest: dt.datetime | None = None
    newest: dt.datetime | None = None

    def add(self, row: sa.Row[Any] | Tally) -> None:
        """Add what a batch told."""
        self.gone += row.gone
        self.bytes += row.bytes
        self.oldest = min(filter(None, (self.oldest, row.oldest)), default=None)
        self.newest = max(filter(None, (self.newest, row.newest)), default=None)


@dataclasses.dataclass(slots=True)
class Pruned:
    """What was deleted, or would be. `uploads` are those of failed imports, `imports` the records of
    imports of which nothing else is left.

    `disk` are the bytes that the disk got back at once, from partitions that went as a whole; other space is used
    again. `in_use` are old rows that somebody else had locked: they stay until the next time. `complete` is false where
    the time budget ended the work.
    """

    artifacts: Tally = dataclasses.field(default_factory=Tally)
    results: Tally = dataclasses.field(default_factory=Tally)
    runs: Tally = dataclasses.field(default_factory=Tally)
    uploads: Tally = dataclasses.field(default_factory=Tally)
    imports: Tally = dataclasses.field(default_factory=Tally)
    disk: int = 0
    in_use: int = 0
    batches: int = 0
    complete: bool = True

    @property
    def tallies(self) -> dict[str, Tally]:
        """The tables and their tallies."""
        return {name: getattr(self, name) for name in ("artifacts", "uploads", "results", "runs", "imports")}

    @property
    def bytes(self) -> int:
        """The bytes of all."""
        return sum(tally.bytes for tally in self.tallies.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, the bytes, and whether all is done."""
        counts = {name: tally.gone for name, tally in self.tallies.items()}
        return {**counts, "bytes": self.bytes, "disk": self.disk, "in_use": self.in_use, "complete": self.complete}

    @property
    def rows(self) -> int:
        """The rows of all."""
        return sum(tally.gone for tally in self.tallies.values())
