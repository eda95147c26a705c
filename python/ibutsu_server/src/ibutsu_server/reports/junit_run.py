"""What the files of a JUnit report say of the run as a whole."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from ibutsu_server.reports.errors import ReportError, shown
from ibutsu_server.reports.limits import Limits
from ibutsu_server.reports.records import RunRecord
from ibutsu_server.reports.values import instant, seconds, uuid5_maker

NOTES = 20  # sentences about suites that a run is given
NAMES = 5  # of files that were left out
SUITE_NAME = 100  # characters of a suite's name in a sentence

# A suite's attribute, and the words for one and for several.
_CLAIMS = (
    ("tests", "test", "tests"),
    ("failures", "failure", "failures"),
    ("errors", "error", "errors"),
    ("skipped", "skipped", "skipped"),
)


class Suite:
    """An open `<testsuites>` or `<testsuite>`. What it does not say, it has from the one around it."""

    __slots__ = ("claims", "counts", "duration", "file", "first", "line", "name", "properties", "size", "start")

    def __init__(self, attributes: Mapping[str, str], outer: Suite | None, line: int, first: int) -> None:
        self.name: str | None = attributes.get("name") or (outer.name if outer else None)
        self.file: str | None = attributes.get("file") or (outer.file if outer else None)
        self.start: dt.datetime | None = instant(attributes.get("timestamp")) or (outer.start if outer else None)
        self.claims = [_count(attributes.get(claim)) for claim, _, _ in _CLAIMS]
        if self.claims[-1] is not None:
            self.claims[-1] += _count(attributes.get("disabled")) or 0  # GoogleTest and CTest count them apart
        self.duration = seconds(attributes["time"]) if attributes.get("time") else None
        self.line = line
        self.properties: dict[str, str] = {}
        self.size = 0  # characters of the properties
        self.first = first  # the index of its first test case
        self.counts: dict[str, int] = {}

    def close_into(self, outer: Suite) -> None:
        for outcome, count in self.counts.items():
            outer.counts[outcome] = outer.counts.get(outcome, 0) + count

    def contradiction(self, index: int) -> str | None:
        """A sentence, when the attributes claim other numbers than the test cases before `index` give."""
        counts = self.counts
        found = (
            index - self.first,
            counts.get("failed", 0),
            counts.get("error", 0),
            counts.get("skipped", 0) + counts.get("xfailed", 0),
        )
        wrong = [
            (f"{claim} {word if claim == 1 else words}", f"{true} {word if true == 1 else words}")
            for claim, true, (_, word, words) in zip(self.claims, found, _CLAIMS, strict=True)
            if claim is not None and claim != true
        ]
        if not wrong:
            return None
        name = f'suite "{shown(self.name, SUITE_NAME)}"' if self.name else "suite"
        claimed, true_counts = zip(*wrong, strict=True)
        return (
            f"The {name} in line {self.line} claims {', '.join(claimed)}; its test cases are {', '.join(true_counts)}."
        )


def _count(text: str | None) -> int | None:
    """The number that a suite claims; None where it claims none, or what is no number."""
    try:
        return int(text.replace(",", "")) if text and len(text) < 20 else None
    except ValueError:
        return None


class JunitRun:
    """The run: what is known of it so far, and the running index of its results."""

    def __init__(self, run_id: uuid.UUID, limits: Limits, now: dt.datetime) -> None:
        self.id = run_id
        self.id_text = str(run_id)
        self.limits = limits
        self.now = now
        self.make_id = uuid5_maker(run_id)
        self.index = 0
        self.inherited = 0
        self.announced = False
        self.name: str | None = None
        self.root_start: dt.datetime | None = None
        self.suite_start: dt.datetime | None = None
        self.duration = 0.0
        self.spent = 0.0
        self.properties: dict[str, str] = {}
        self.late_properties: dict[str, str] = {}
        self.kept = 0  # characters of both
        self.attachments: list[str] = []
        self.notes: list[str] = []
        self.more_notes = 0
        self.replaced = 0
        self.others = 0
        self.other_names: list[str] = []

    @property
    def start(self) -> dt.datetime:
        return self.root_start or self.suite_start or self.now

    def suite_opened(self, suite: Suite, *, root: bool) -> None:
        self.name = self.name or suite.name
        if suite.start is None:
            return
        if root:
            self.root_start = min(self.root_start or suite.start, suite.start)
        else:
            self.suite_start = min(self.suite_start or suite.start, suite.start)

    def left_out(self, member: str) -> None:
        self.others += 1
        if len(self.other_names) < NAMES:
            self.other_names.append(shown(member, SUITE_NAME))

    def note(self, sentence: str) -> None:
        if len(self.notes) < NOTES:
            self.notes.append(sentence)
        else:
            self.more_notes += 1

    def keep(self, size: int) -> None:
        self.kept += size
        if self.kept > self.limits.metadata_size:
            raise ReportError(f"the properties of the run take more than {self.limits.metadata_size:,} characters")

    def file_done(self, root: Suite | None, replaced: int) -> None:
        self.replaced += replaced
        if root is not None:
            self.duration += self.spent if root.duration is None else root.duration
            self.keep(root.size)
            self.properties |= root.properties
        self.properties = self.late_properties | self.properties
        self.spent = 0.0

    def record(self) -> RunRecord:
        self.announced = True
        notes = list(self.notes)
        if self.more_notes:
            notes.append(f"{self.more_notes:,} more remarks of this kind are not shown.")
        if self.others:
            names = ", ".join(self.other_names) + (", …" if self.others > len(self.other_names) else "")
            notes.append(f"{self.others:,} files of the upload are no JUnit XML and were left out: {names}.")
        if self.replaced:
            notes.append(f"{self.replaced:,} characters that XML does not allow were replaced by U+FFFD.")
        metadata: dict[str, Any] = dict(self.properties)
        if self.attachments:
            metadata["attachments"] = list(self.attachments)
        return RunRecord(
            id=self.id,
            start_time=self.start,
            duration=self.duration,
            source=self.name,
            metadata=metadata,
            notes=tuple(notes),
        )
