"""From the parser's events to records: what each element of JUnit XML means."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from xml.parsers.expat import XMLParserType

from ibutsu_server.reports.errors import ReportError, shown
from ibutsu_server.reports.junit_run import JunitRun, Suite
from ibutsu_server.reports.limits import KIB, MIB
from ibutsu_server.reports.records import ArtifactRecord, Outcome, Record, ResultRecord
from ibutsu_server.reports.values import LONGEST, instant, seconds, test_id

ROOTS = frozenset(("testsuites", "testsuite"))

_TRACEBACK = "traceback.log"
_RERUNS = "reruns.log"
_LOGS = {"system-out": "system-out.log", "system-err": "system-err.log"}
_RERUN_ELEMENTS = frozenset(("flakyFailure", "flakyError", "rerunFailure", "rerunError"))
_OUTCOME_ELEMENTS: dict[str, Outcome] = {
    "failure": "failed",
    "error": "error",
    "skipped": "skipped",
    "ignored": "skipped",  # TestNG
    "xfailure": "xfailed",
    "xpassed": "xpassed",
}
_CASE_ELEMENTS = frozenset((*_OUTCOME_ELEMENTS, *_LOGS, *_RERUN_ELEMENTS, "property"))
_SUITE_ELEMENTS = frozenset((*_LOGS, "failure", "error", "property"))
# What a test case's `status` or `result` says of one that was not run, where other tools write <skipped>: GoogleTest
# (until 1.10 also for GTEST_SKIP), CTest, NUnit (for Assert.Ignore) and behave.
_NOT_RUN = frozenset(("notrun", "disabled", "suppressed", "skipped", "untested"))

# A name ends where the next mark begins: many marks without an end would else be searched in quadratic time.
_ATTACHMENT = re.compile(r"\[\[ATTACHMENT\|((?:(?!\[\[ATTACHMENT\|).){1,1000}?)\]\]")
ATTACHMENTS = 1000  # names kept for one result, or the run
ENCODED_PIECE = 64 * KIB  # characters of a long text that are encoded at a time
LATE_PROPERTIES = 500_000  # that the results of one file are given after they were read
TEXT_BUFFER = 64 * KIB  # characters that the parser joins before it hands them on
NAMES_SIZE = 4 * MIB  # characters of all the different names of elements and attributes
PROPERTY = 128  # bytes that a property takes besides its characters
PART = 64  # bytes that a part of a text takes besides its characters
COPIES = 1_000_000  # properties that suites hand down to the test cases of one piece of the text


_new = tuple.__new__


class NotJunitError(ReportError):
    """XML, but of another kind."""


class Texts:
    """The bytes of long texts, encoded while they are asked for."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def __iter__(self) -> Iterator[bytes]:
        for text in self._texts:
            for start in range(0, len(text), ENCODED_PIECE):
                yield text[start : start + ENCODED_PIECE].encode()


def encoded(texts: list[str]) -> Iterable[bytes]:
    """The bytes of `texts` together. Long ones are not joined: one wide character would widen them all."""
    if len(texts) == 1 and len(texts[0]) <= ENCODED_PIECE:
        return (texts[0].encode(),)
    return ("".join(texts).encode(),) if sum(map(len, texts)) <= ENCODED_PIECE else Texts(texts)


class _Details:
    """What a test case has besides its attributes; most have nothing."""

    __slots__ = ("logs", "metadata", "outcomes", "properties", "size")

    def __init__(self) -> None:
        self.outcomes: set[Outcome] = set()
        self.logs: dict[str, list[str]] = {}
        self.metadata: dict[str, Any] = {}
        self.properties: dict[str, str] = {}
        self.size = 0

    def add_log(self, log: str, *texts: str) -> None:
        known = self.logs.setdefault(log, [])
        if known:
            known.append("\n\n")
        known += texts

    def add_to(self, metadata: dict[str, Any]) -> Outcome:
        metadata.update(self.properties)
        for key, value in self.metadata.items():
            metadata.setdefault(key, value)
        return next((outcome for outcome in _OUTCOME_ELEMENTS.values() if outcome in self.outcomes), "passed")


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
        self._case: dict[str, str] | None = None
        self._details: _Details | None = None
        self._outer_cases: list[tuple[dict[str, str], _Details | None]] = []
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
                f"the properties of the suites give their tests more than {limits.inherited_size:,} bytes",
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
        elif name in (_SUITE_ELEMENTS if self._case is None else _CASE_ELEMENTS):
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

        metadata = (self._inherited or self._inherit()).copy()
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
        outcome: Outcome = "passed"
        if details is not None:
            outcome = details.add_to(metadata)
        if outcome == "passed" and ("status" in attributes or "result" in attributes) and _was_not_run(attributes):
            outcome = "skipped"
        if outcome != "passed":
            suite.count(outcome, details.outcomes if details is not None else ())
        if fspath := suite.file or get("file") or self._package:
            metadata["fspath"] = fspath
        if line := get("line"):
            metadata["line"] = line
        metadata["run"] = run.id_text

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
        if self._inherited_size:
            run.inherited += self._inherited_size
            self._copies += len(metadata)
            if self._copies > COPIES:
                self._refuse("the properties of the suites are too many for so many tests")
        if details is not None and details.logs:
            owner = uuid.UUID(bytes=result_id)
            for filename, texts in details.logs.items():
                self.out.append(ArtifactRecord(filename=filename, chunks=encoded(texts), result_id=owner))

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
            details = self._details = self._details or _Details()
            details.size += size
            self._case_text(details, name, attributes, text)

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
            details = self._details = self._details or _Details()
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
        if name not in _LOGS:
            text = _failure_text(attributes, text)
            self.run.note(
                f"Outside any test case, line {self._parser.CurrentLineNumber} has <{name}>; "
                f"its text is the run's {_TRACEBACK}."
            )
        if _is_blank(text):
            return
        run = self.run
        run.attachments += _attachments(text, ATTACHMENTS - len(run.attachments))
        self.out.append(ArtifactRecord(filename=_LOGS.get(name, _TRACEBACK), chunks=encoded([text]), run_id=run.id))

    def _case_text(self, details: _Details, name: str, attributes: dict[str, str], text: str) -> None:
        metadata = details.metadata
        if name in _RERUN_ELEMENTS:
            metadata["reruns"] = metadata.get("reruns", 0) + 1
            assert self._suite is not None  # noqa: S101
            reruns, kind = self._suite.reruns, "error" if name.endswith("Error") else "failed"
            reruns[kind] = reruns.get(kind, 0) + 1
            title = ": ".join(filter(None, (name, attributes.get("type"), attributes.get("message"))))
            details.add_log(_RERUNS, title, "\n", text)
            _note_attachments(metadata, text)
            return
        if name in _LOGS:
            if _is_blank(text):
                return
            log = _LOGS[name]
            _note_attachments(metadata, text)
        else:
            outcome = _OUTCOME_ELEMENTS[name]
            if outcome == "skipped" and attributes.get("type") == "pytest.xfail":
                outcome = "xfailed"
            details.outcomes.add(outcome)
            if outcome in {"skipped", "xfailed"}:
                reason = text.strip() or attributes.get("message")
                if reason:
                    metadata.setdefault("skip_reason" if outcome == "skipped" else "xfail_reason", reason)
                return
            message = attributes.get("message")
            if message and message.strip() not in text:
                metadata.setdefault("message", message)
            if attributes.get("type"):
                metadata.setdefault("exception_name", attributes["type"])
            text = _failure_text(attributes, text)
            if not text or outcome == "xpassed":
                return
            log = _TRACEBACK
        details.add_log(log, text)


def _size(attributes: dict[str, str]) -> int:
    return sum(map(len, attributes.values()))


def _is_blank(text: str) -> bool:
    return not text or text.isspace()  # without a copy, as strip() makes of a long text


def _failure_text(attributes: dict[str, str], text: str) -> str:
    """A failure's text, exactly; where it has none, its type and message."""
    if not _is_blank(text):
        return text
    return ": ".join(filter(None, (attributes.get("type"), attributes.get("message"))))


def _was_not_run(attributes: dict[str, str]) -> bool:
    return attributes.get("status", "").lower() in _NOT_RUN or attributes.get("result", "").lower() in _NOT_RUN


def _note_attachments(metadata: dict[str, Any], text: str) -> None:
    if "[[ATTACHMENT|" in text:
        known = metadata.setdefault("attachments", [])
        known += _attachments(text, ATTACHMENTS - len(known))


def _attachments(text: str, most: int) -> list[str]:
    if "[[ATTACHMENT|" not in text:
        return []
    return [found.group(1) for found in itertools.islice(_ATTACHMENT.finditer(text), most)]
