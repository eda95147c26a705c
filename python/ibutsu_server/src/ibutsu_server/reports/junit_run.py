"""What the files of a JUnit report say of the run as a whole."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
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

# The outcomes that the claims after the first count.
_COUNTED = (("failed",), ("error",), ("skipped", "xfailed"))


class Suite:
    """An open `<testsuites>` or `<testsuite>`. What it does not say, it has from the one around it."""

    __slots__ = (
        "as_children",
        "claims",
        "counts",
        "duration",
        "elements",
        "file",
        "first",
        "late",
        "line",
        "name",
        "nested",
        "properties",
        "reruns",
        "size",
        "start",
    )

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
        self.late: dict[str, str] = {}  # those that come after a test case
        self.first = first  # the index of its first test case
        self.counts: dict[str, int] = {}
        self.elements: dict[str, int] = {}  # what to add to the counts for those of the elements, where they differ
        self.reruns: dict[str, int] = {}  # earlier or further runs of the same tests, by their outcome
        self.nested = outer is not None
        self.as_children: list[int] | None = None  # what to add where each suite in it counts as one test

    @property
    def title(self) -> str:
        name = f' "{shown(self.name, SUITE_NAME)}"' if self.name else ""
        return f"the suite{name} in line {self.line}"

    def count(self, outcome: str, elements: Collection[str]) -> None:
        """Count a test that did not pass. `elements` are the outcomes that its elements name."""
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if len(elements) != 1:
            # Such as <skipped> and then an <error> of the teardown; or none, and an attribute that says "notrun".
            for each in elements:
                self.elements[each] = self.elements.get(each, 0) + 1
            self.elements[outcome] = self.elements.get(outcome, 0) - 1

    def close_into(self, outer: Suite, index: int) -> None:
        for inner_counts, outer_counts in (
            (self.counts, outer.counts),
            (self.elements, outer.elements),
            (self.reruns, outer.reruns),
        ):
            for outcome, count in inner_counts.items():
                outer_counts[outcome] = outer_counts.get(outcome, 0) + count
        if outer.nested:
            more = outer.as_children or [0] * len(_CLAIMS)
            found = self.found(index)
            outer.as_children = [known + min(count, 1) - count for known, count in zip(more, found, strict=True)]

    def found(self, index: int) -> list[int]:
        """What the test cases before `index` give, in the order of the claims."""
        return [index - self.first, *_by_claim(self.counts)]

    def contradiction(self, index: int) -> str | None:
        """A sentence, when the attributes claim other numbers than the test cases before `index` give."""
        found = self.found(index)
        by_element = [0, *_by_claim(self.elements)]
        wrong = [
            (f"{claim} {word if claim == 1 else words}", f"{true} {word if true == 1 else words}")
            for claim, true, more, (_, word, words) in zip(self.claims, found, by_element, _CLAIMS, strict=True)
            if claim is not None and claim not in {true, true + more}
        ]
        if not wrong or self._counts_otherwise(found):
            return None
        claimed, true_counts = zip(*wrong, strict=True)
        return f"T{self.title[1:]} claims {', '.join(claimed)}; its test cases are {', '.join(true_counts)}."

    def _counts_otherwise(self, found: list[int]) -> bool:
        """Whether all claims agree in another honest way to count.

        That is, the suite's children, be they tests or suites (node:test); or each run of a test (Gradle).
        """
        ways = [self.as_children] if self.as_children else []
        if self.reruns:
            ways.append([sum(self.reruns.values()), *_by_claim(self.reruns)])
        return any(
            all(claim in {None, true + more} for claim, true, more in zip(self.claims, found, way, strict=True))
            for way in ways
        )


def _by_claim(counts: Mapping[str, int]) -> list[int]:
    return [sum(counts.get(outcome, 0) for outcome in outcomes) for outcomes in _COUNTED]


def _count(text: str | None) -> int | None:
    """The number that a suite claims; None where it claims none, or what is no number."""
    try:
        return int(text.replace(",", "")) if text and len(text) < 20 else None
    except ValueError:
        return None


class JunitRun:
    """The run: what is known of it so far, and the running index of its results."""

    def __init__(self, run_id: uuid.UUID, results: uuid.UUID, limits: Limits, now: dt.datetime) -> None:
        self.id = run_id
        self.id_text = str(run_id)
        self.limits = limits
        self.now = now
        self.make_id = uuid5_maker(results)
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
            raise ReportError(
                f"the properties of the run take more than {self.limits.metadata_size:,} characters",
                limit="metadata_size",
            )

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
            files = "1 file of the upload is" if self.others == 1 else f"{self.others:,} files of the upload are"
            verb = "was" if self.others == 1 else "were"
            notes.append(f"{files} no JUnit XML and {verb} left out: {names}.")
        if self.replaced:
            characters = "1 character" if self.replaced == 1 else f"{self.replaced:,} characters"
            verb = "was" if self.replaced == 1 else "were"
            notes.append(f"{characters} that XML does not allow {verb} replaced by U+FFFD.")
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
