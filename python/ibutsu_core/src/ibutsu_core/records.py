"""What a report says, as a stream of typed records: the words that readers and store share.

A reader yields one `RunRecord` first, so that the run's row can exist before anything refers to it. A later
`RunRecord` with the same id replaces what the earlier one said: totals and the contents of a `run.json` are often
known only at the end. Between them come `ResultRecord` and `ArtifactRecord`, in any order.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

Outcome = Literal["passed", "failed", "error", "skipped", "xpassed", "xfailed", "manual", "blocked"]

OUTCOMES: frozenset[str] = frozenset(
    ("passed", "failed", "error", "skipped", "xpassed", "xfailed", "manual", "blocked")
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The run as the report has it. `None` means that the report does not say.

    `duration` is in seconds. `summary` holds what the report claims of itself (`collected` and the like); the true
    counts are computed from the stored results. `project` is a name or a UUID, unchecked. `notes` are sentences for
    the run's reader, for instance that the claimed counts differ from the test cases found.
    """

    id: uuid.UUID
    start_time: dt.datetime | None = None
    duration: float | None = None
    source: str | None = None
    component: str | None = None
    env: str | None = None
    project: str | None = None
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


class ResultRecord(NamedTuple):
    """One test's result. `duration` is in seconds; `start_time` is aware, or None where the report has none.

    A tuple, and its id just the 16 bytes of it, since there are millions: a dataclass takes ten times as long to make.
    Results may share one `metadata`, which is not to be changed.
    """

    id_bytes: bytes
    run_id: uuid.UUID
    test_id: str
    result: Outcome
    start_time: dt.datetime | None
    duration: float
    source: str | None
    metadata: dict[str, Any]
    component: str | None = None
    env: str | None = None
    params: dict[str, Any] | None = None

    @property
    def id(self) -> uuid.UUID:
        """The result's id."""
        return uuid.UUID(bytes=self.id_bytes)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """A file that belongs to a run or to one of its results: exactly one of the two ids is given.

    `chunks` is read once, before the next record is asked for, and is no longer valid after that.
    """

    filename: str
    chunks: Iterable[bytes]
    run_id: uuid.UUID | None = None
    result_id: uuid.UUID | None = None


Record = RunRecord | ResultRecord | ArtifactRecord
