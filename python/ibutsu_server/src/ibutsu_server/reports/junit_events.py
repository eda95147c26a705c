"""From the parser's events to records: what each element of JUnit XML means."""

from __future__ import annotations

import itertools
import uuid
from typing import Any, NoReturn
from xml.parsers.expat import XMLParserType

from ibutsu_server.reports.errors import ReportError, shown
from ibutsu_server.reports.junit_case import (
    ATTACHMENTS,
    CASE_ELEMENTS,
    LOGS,
    TRACEBACK,
    Details,
    attachments,
    encoded,
    failure_text,
    is_blank,
    was_not_run,
)
from ibutsu_server.reports.junit_run import JunitRun, Suite
from ibutsu_server.reports.limits import KIB, MIB
from ibutsu_server.reports.records import ArtifactRecord, Outcome, Record, ResultRecord
from ibutsu_server.reports.values import LONGEST, instant, seconds, test_id

ROOTS = frozenset(("testsuites", "testsuite"))

_SUITE_ELEMENTS = frozenset((*LOGS, "failure", "error", "property"))
LATE_PROPERTIES = 500_000  # that the results of one file are given after they were read
TEXT_BUFFER = 64 * KIB  # characters that the parser joins before it hands them on
NAMES_SIZE = 4 * MIB  # characters of all the different names of elements and attributes
PROPERTY = 128  # bytes that a property takes besides its characters
PART = 64  # bytes that a part of a text takes besides its characters
COPIES = 1_000_000  # properties that suites hand down to the test cases of one piece of the text


_new = tuple.__new__


class NotJunitError(ReportError):
    """XML, but of another kind."""


class Events:
    """The handlers of one file's parser. Records gather in `out`."""

    def __init__(self, run: JunitRun, parser: XMLParserType) -> None:
        self.run = run
        self.out: list[Record] = []
        self.root: Suite | None = None
        self.in_cdata = False
        self.properties_lead = False
        self._taken = run.index
        self._late = 0
        self._parser = parser
        self._depth = 0
        self._max_depth = run.limits.xml_depth
        self._most_results = run.limits.results
        self._suites: list[Suite] = []
        self._suite: Suite | None = None
        self._inherited: dict[str, Any] | None = None
        self._inherited_size = 0
        self._given_size = 0
        self._plain: dict[str, Any] | None = None  # the metadata of a test case that has nothing of its own
        self._plain_path: str | None = None
        self._case: dict[str, str] | None = None
        self._details: Details | None = None
        self._outer_cases: list[tuple[dict[str, str], Details | None]] = []
        self._child: str | None = None
        self._child_attributes: dict[str, str] = {}
        self._child_depth = 0
        self._parts: list[str] = []
        self._measured = 0
        self._parts_size = 0
        self._attributes = 0
        self._parts_length = 0
        self._parts_width = 1
        self._names = 0
        self._names_size = 0
        self._held = 0  # characters that the open suites, and the test cases around this one, keep
        self._copies = 0
        self._classname: str | None = None
        self._class_prefix = ""
        self._package: str | None = None

        parser.buffer_size = TEXT_BUFFER
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartCdataSectionHandler = self._cdata_start
        parser.EndCdataSectionHandler = self._cdata_end
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._entity
        parser.ExternalEntityRefHandler = self._entity
        parser.SkippedEntityHandler = self._entity
        if hasattr(parser, "SetReparseDeferralEnabled"):
            parser.SetReparseDeferralEnabled(False)  # what was given is then read, and `in_cdata` true

    def taken(self) -> list[Record]:
        out, self.out = self.out, []
        self._taken = self.run.index
        self._copies = 0
        return out

    def release(self) -> None:
        """Undo the ring of references between the parser and its handlers."""
        self._parser.StartElementHandler = None
        self._parser.EndElementHandler = None
        self._parser.CharacterDataHandler = None

    def check(self, unfinished: int = 0, piece: bytes = b"") -> None:
        """Bounds that are looked at once a piece. `unfinished` bytes at its end are a tag or comment that goes on."""
        limits = self.run.limits
        if unfinished > len(piece):
            # All attributes of a tag are held at once, each in a hundred times the bytes that it is.
            self._attributes += piece.count(b'="') + piece.count(b"='")
            if self._attributes > limits.xml_attributes:
                self._refuse(f"a tag has more than {limits.xml_attributes:,} attributes", limit="xml_attributes")
        else:
            self._attributes = 0
        parts = self._parts
        if len(parts) > self._measured:
            for part in parts[self._measured :]:
                self._parts_length += len(part)
                if not part.isascii():
                    width = ((part + part).__sizeof__() - part.__sizeof__()) // len(part)
                    self._parts_width = max(self._parts_width, width)
            self._measured = len(parts)
            self._parts_size = self._parts_length * self._parts_width + len(parts) * PART
        held = self._parts_size + (self._details.size if self._details else 0)
        if held > limits.xml_text:
            self._refuse(
                f"the texts of one test case or suite take more than {limits.xml_text:,} bytes", limit="xml_text"
            )
        if unfinished > limits.xml_tag:
            self._refuse(f"a tag or comment is longer than {limits.xml_tag:,} bytes", limit="xml_tag")
        names = self._parser.intern
        if len(names) > self._names:
            if len(names) > limits.xml_names:
                self._refuse(
                    f"there are more than {limits.xml_names:,} different names of elements and attributes",
                    limit="xml_names",
                )
            latest = itertools.islice(reversed(names), len(names) - self._names)
            self._names_size += sum(len(name or "") for name in latest)
            self._names = len(names)
            if self._names_size > NAMES_SIZE:
                self._refuse(f"the names of elements and attributes have more than {NAMES_SIZE:,} characters")
        if self.run.inherited > limits.inherited_size:
            self._refuse(
                f"the names and properties of the suites give their tests more than {limits.inherited_size:,} bytes",
                limit="inherited_size",
            )

    def _refuse(self, reason: str, limit: str | None = None) -> NoReturn:
        raise ReportError(reason, line=self._parser.CurrentLineNumber, limit=limit)

    def _doctype(self, name: str, system: str | None, public: str | None, has_internal_subset: bool | int) -> None:
        if has_internal_subset:
            self._refuse(f"the document type of <{name}> has declarations of its own (entities), which are refused")

    def _entity(self, *_: object) -> NoReturn:
        self._refuse("an entity is declared or used, which is refused")

    def _cdata_start(self) -> None:
        self.in_cdata = True

    def _cdata_end(self) -> None:
        self.in_cdata = False

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth = depth = self._depth + 1
        if name == "testcase" and self._suite is not None and self._child is None:
            if self._case is not None:
                self._check_depth()
                self._hold(_size(self._case) + (self._details.size if self._details else 0))
                self._outer_cases.append((self._case, self._details))
            self._case = attributes
            self._details = None
            return
        self._check_depth()
        if self._child is not None:
            return
        if ":" in name:
            name = name.rpartition(":")[2]
            if name == "testcase":
                self._depth -= 1
                self._start(name, attributes)
                return
        if self._suite is None and name not in ROOTS:
            raise NotJunitError(
                f"the outermost element is <{shown(name, 60)}>, not <testsuites> or <testsuite>: this is no JUnit XML",
                line=self._parser.CurrentLineNumber,
            )
        if name in ROOTS:
            self._open_suite(attributes)
        elif name in (_SUITE_ELEMENTS if self._case is None else CASE_ELEMENTS):
            self._child = name
            self._child_attributes = attributes
            self._child_depth = depth
            self._parts = []
            self._measured = self._parts_size = self._parts_length = 0
            self._parts_width = 1
            self._parser.CharacterDataHandler = self._parts.append

    def _check_depth(self) -> None:
        if self._depth > self._max_depth:
            self._refuse(f"elements are nested more than {self._max_depth:,} deep", limit="xml_depth")

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self.run.limits.metadata_size:
            self._refuse(
                f"the open elements take more than {self.run.limits.metadata_size:,} characters", limit="metadata_size"
            )

    def _end(self, name: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        if self._child is not None:
            if depth == self._child_depth:
                self._close_child()
        elif name == "testcase":
            self._close_case()
        else:
            if ":" in name:
                name = name.rpartition(":")[2]
            if name == "testcase":
                self._close_case()
            elif name in ROOTS:
                self._close_suite()

    def _open_suite(self, attributes: dict[str, str]) -> None:
        outer = self._suite
        suite = Suite(attributes, outer, self._parser.CurrentLineNumber, self.run.index)
        suite.size = _size(attributes)
        self._hold(suite.size)
        self.run.suite_opened(suite, root=outer is None)
        if outer is None:
            self.root = suite
        self._suites.append(suite)
        self._suite = suite
        self._inherited = None

    def _close_suite(self) -> None:
        suite = self._suites.pop()
        self._held -= suite.size
        sentence = suite.contradiction(self.run.index)
        if sentence:
            self.run.note(sentence)
        if suite.late:
            self._hand_down(suite)
        self._inherited = None
        if self._suites:
            self._suite = self._suites[-1]
            suite.close_into(self._suite, self.run.index)

    def _close_case(self) -> None:
        attributes, details, suite, run = self._case, self._details, self._suite, self.run
        assert attributes is not None and suite is not None  # noqa: S101
        if self._outer_cases:
            self._case, self._details = self._outer_cases.pop()
            self._held -= _size(self._case) + (self._details.size if self._details else 0)
        else:
            self._case = self._details = None
        get = attributes.get

        inherited = self._inherited or self._inherit()
        classname = get("classname")
        if classname != self._classname:
            self._classname = classname
            package, _, last = (classname or "").rpartition(".")
            self._package = package.replace(".", "/") or None
            self._class_prefix = f"{last}." if last else ""
        name = get("name")
        timestamp = get("timestamp")
        time = get("time")
        try:
            duration = float(time) if time else 0.0
        except ValueError:
            duration = seconds(time)
        if not 0.0 <= duration <= LONGEST:
            duration = 0.0
        fspath = suite.file or get("file") or self._package
        outcome: Outcome = "passed"
        if details is None and "line" not in attributes:
            # Many have the same, which is made, and later encoded, once.
            metadata = self._plain
            if metadata is None or fspath != self._plain_path:
                metadata = self._plain = self._located(inherited.copy(), fspath)
                self._plain_path = fspath
        else:
            metadata = inherited.copy()
            if details is not None:
                outcome = details.add_to(metadata)
            self._located(metadata, fspath, get("line"))
        if outcome == "passed" and ("status" in attributes or "result" in attributes) and was_not_run(attributes):
            outcome = "skipped"
        if outcome != "passed":
            suite.count(outcome, details.outcomes if details is not None else ())
        result_id = run.make_id(run.index)
        run.index += 1
        if run.index > self._most_results:
            self._refuse(f"there are more than {self._most_results:,} test cases", limit="results")
        run.spent += duration
        self.out.append(
            # A NamedTuple's own constructor takes twice as long.
            _new(
                ResultRecord,
                (
                    result_id,
                    run.id,
                    self._class_prefix + name if name else test_id(classname, name),
                    outcome,
                    (instant(timestamp) if timestamp else None) or suite.start or run.start,
                    duration,
                    suite.name,
                    metadata,
                    None,
                    None,
                    None,
                ),
            )
        )
        run.inherited += self._given_size
        if self._inherited_size:
            self._copies += len(metadata)
            if self._copies > COPIES:
                self._refuse("the properties of the suites are too many for so many tests")
        if details is not None and details.logs:
            owner = uuid.UUID(bytes=result_id)
            for filename, texts in details.logs.items():
                self.out.append(ArtifactRecord(filename=filename, chunks=encoded(texts), result_id=owner))

    def _located(self, metadata: dict[str, Any], fspath: str | None, line: str | None = None) -> dict[str, Any]:
        if fspath:
            metadata["fspath"] = fspath
        if line:
            metadata["line"] = line
        metadata["run"] = self.run.id_text
        return metadata

    def _inherit(self) -> dict[str, Any]:
        """The properties that the open suites give to each test, the inner ones winning."""
        inherited: dict[str, Any] = {"run": self.run.id_text}
        size = 0
        for suite in self._suites:
            if suite.properties:
                inherited.update(suite.properties)
                size += suite.size
        self._inherited = inherited
        self._inherited_size = size
        suite = self._suites[-1]
        self._given_size = size + len(suite.name or "") + len(suite.file or "")
        self._plain = None
        return inherited

    def _hand_down(self, suite: Suite) -> None:
        """Give properties that come after the tests (as Robot Framework writes them) to those that are still here.

        Where some of those are gone already, the run keeps the properties.
        """
        run = self.run
        count = run.index - suite.first
        self._late += count * len(suite.late)
        if suite.first < self._taken or self._late > LATE_PROPERTIES:
            run.keep(sum(len(name) + len(value) + PROPERTY for name, value in suite.late.items()))
            run.late_properties.update(suite.late)
            run.note(
                f"The properties of {suite.title} come after its test cases, which are many; they are the run's only."
            )
            return
        run.inherited += count * sum(len(name) + len(value) for name, value in suite.late.items())
        records = reversed(self.out)
        while count:
            record = next(records)
            if isinstance(record, ResultRecord):
                count -= 1
                for name, value in suite.late.items():
                    record.metadata.setdefault(name, value)

    def _close_child(self) -> None:
        name, attributes, parts = self._child, self._child_attributes, self._parts
        self.check()
        self._child = None
        self._parts = []
        self._measured = 0
        self._parser.CharacterDataHandler = None
        text = "".join(parts)
        del parts
        size, self._parts_size = self._parts_size, 0
        for value in attributes.values():
            size += value.__sizeof__()
        assert name is not None  # noqa: S101
        if name == "property":
            self._property(attributes, text)
        elif self._case is None:
            self._suite_text(name, attributes, text)
        else:
            details = self._details = self._details or Details()
            details.size += size
            assert self._suite is not None  # noqa: S101
            details.add_element(name, attributes, text, self._suite)

    def _property(self, attributes: dict[str, str], text: str) -> None:
        name = attributes.get("name") or attributes.get("key")
        if not name:
            return
        value = attributes.get("value")
        if value is None:
            value = text
        size = len(name) + len(value) + PROPERTY
        limit = self.run.limits.metadata_size
        if self._case is not None:
            details = self._details = self._details or Details()
            details.properties[name] = value
            details.size += size
        else:
            suite = self._suites[-1]
            suite.properties[name] = value
            suite.size += size
            self._held += size
            if self.run.index > suite.first:
                suite.late[name] = value
            else:
                self.properties_lead = True
            self._inherited = None
        if size > limit or self._held > limit:
            self._refuse(f"the properties of one test take more than {limit:,} characters", limit="metadata_size")

    def _suite_text(self, name: str, attributes: dict[str, str], text: str) -> None:
        if name not in LOGS:
            text = failure_text(attributes, text)
            self.run.note(
                f"Outside any test case, line {self._parser.CurrentLineNumber} has <{name}>; "
                f"its text is the run's {TRACEBACK}."
            )
        if is_blank(text):
            return
        run = self.run
        run.attachments += attachments(text, ATTACHMENTS - len(run.attachments))
        self.out.append(ArtifactRecord(filename=LOGS.get(name, TRACEBACK), chunks=encoded([text]), run_id=run.id))


def _size(attributes: dict[str, str]) -> int:
    return sum(map(len, attributes.values()))
