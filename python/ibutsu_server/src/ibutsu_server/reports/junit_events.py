"""From the parser's events to records: what each element of JUnit XML means."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from xml.parsers.expat import XMLParserType

from ibutsu_server.reports.errors import ReportError, shown
from ibutsu_server.reports.junit_run import JunitRun, Suite
from ibutsu_server.reports.limits import KIB
from ibutsu_server.reports.records import ArtifactRecord, Outcome, Record, ResultRecord
from ibutsu_server.reports.values import instant, seconds, test_id

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

_ATTACHMENT = re.compile(r"\[\[ATTACHMENT\|(.+?)\]\]")
ATTACHMENTS = 1000  # names kept for one result, or the run
ENCODED_PIECE = 64 * KIB  # characters of a long text that are encoded at a time
LATE_PROPERTIES = 500_000  # that the results of one file are given after they were read
TEXT_BUFFER = 64 * KIB  # characters that the parser joins before it hands them on


class NotJunitError(ReportError):
    """XML, but of another kind."""


class Texts:
    """A long text's bytes, encoded while they are asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._text), ENCODED_PIECE):
            yield self._text[start : start + ENCODED_PIECE].encode()


def encoded(text: str) -> Iterable[bytes]:
    return (text.encode(),) if len(text) <= ENCODED_PIECE else Texts(text)


class _Details:
    """What a test case has besides its attributes; most have nothing."""

    __slots__ = ("logs", "metadata", "outcomes", "properties", "size")

    def __init__(self) -> None:
        self.outcomes: set[Outcome] = set()
        self.logs: dict[str, list[str]] = {}
        self.metadata: dict[str, Any] = {}
        self.properties: dict[str, str] = {}
        self.size = 0

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
        return out

    def release(self) -> None:
        """Undo the ring of references between the parser and its handlers."""
        self._parser.StartElementHandler = None
        self._parser.EndElementHandler = None
        self._parser.CharacterDataHandler = None

    def check(self, unfinished: int = 0) -> None:
        """Bounds that are looked at once a piece. `unfinished` bytes of it are a tag or comment that goes on."""
        limits = self.run.limits
        parts = self._parts
        if len(parts) > self._measured:
            self._parts_size += sum(part.__sizeof__() for part in parts[self._measured :])
            self._measured = len(parts)
        held = self._parts_size + (self._details.size if self._details else 0)
        if held > limits.xml_text:
            self._refuse(f"the texts of one test case or suite take more than {limits.xml_text:,} bytes")
        if unfinished > limits.xml_tag:
            self._refuse(f"a tag or comment is longer than {limits.xml_tag:,} bytes")
        if len(self._parser.intern) > limits.xml_names:
            self._refuse(f"there are more than {limits.xml_names:,} different names of elements and attributes")
        if self.run.index > limits.results:
            self._refuse(f"there are more than {limits.results:,} test cases")
        if self.run.inherited > limits.inherited_size:
            self._refuse(f"the properties of the suites give their tests more than {limits.inherited_size:,} bytes")

    def _refuse(self, reason: str) -> NoReturn:
        raise ReportError(reason, line=self._parser.CurrentLineNumber)

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
            self._measured = self._parts_size = 0
            self._parser.CharacterDataHandler = self._parts.append

    def _check_depth(self) -> None:
        if self._depth > self._max_depth:
            self._refuse(f"elements are nested more than {self._max_depth:,} deep")

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
        self.run.suite_opened(suite, root=outer is None)
        if outer is None:
            self.root = suite
        self._suites.append(suite)
        self._suite = suite
        self._inherited = None

    def _close_suite(self) -> None:
        suite = self._suites.pop()
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
        duration = seconds(get("time"))
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
        run.spent += duration
        self.out.append(
            ResultRecord(
                result_id,
                run.id,
                self._class_prefix + name if name else test_id(classname, name),
                outcome,
                (instant(timestamp) if timestamp else None) or suite.start or run.start,
                duration,
                suite.name,
                metadata,
            )
        )
        if self._inherited_size:
            run.inherited += self._inherited_size
        if details is not None and details.logs:
            owner = uuid.UUID(bytes=result_id)
            for filename, texts in details.logs.items():
                self.out.append(ArtifactRecord(filename=filename, chunks=encoded("\n\n".join(texts)), result_id=owner))

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
        size, self._parts_size = self._parts_size, 0
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
        size = len(name) + len(value)
        limit = self.run.limits.metadata_size
        if self._case is not None:
            details = self._details = self._details or _Details()
            details.properties[name] = value
            details.size += size
        else:
            suite = self._suites[-1]
            suite.properties[name] = value
            suite.size += size
            if self.run.index > suite.first:
                suite.late[name] = value
            else:
                self.properties_lead = True
            self._inherited = None
        if size > limit or sum(suite.size for suite in self._suites) > limit:
            self._refuse(f"the properties of one test take more than {limit:,} characters")

    def _suite_text(self, name: str, attributes: dict[str, str], text: str) -> None:
        if name not in _LOGS:
            text = _failure_text(attributes, text)
            self.run.note(
                f"Outside any test case, line {self._parser.CurrentLineNumber} has <{name}>; "
                f"its text is the run's {_TRACEBACK}."
            )
        if not text.strip():
            return
        run = self.run
        run.attachments += _attachments(text)[: ATTACHMENTS - len(run.attachments)]
        self.out.append(ArtifactRecord(filename=_LOGS.get(name, _TRACEBACK), chunks=encoded(text), run_id=run.id))

    def _case_text(self, details: _Details, name: str, attributes: dict[str, str], text: str) -> None:
        metadata = details.metadata
        if name in _RERUN_ELEMENTS:
            metadata["reruns"] = metadata.get("reruns", 0) + 1
            assert self._suite is not None  # noqa: S101
            reruns, kind = self._suite.reruns, "error" if name.endswith("Error") else "failed"
            reruns[kind] = reruns.get(kind, 0) + 1
            title = ": ".join(filter(None, (name, attributes.get("type"), attributes.get("message"))))
            details.logs.setdefault(_RERUNS, []).append(f"{title}\n{text}")
            _note_attachments(metadata, text)
            return
        if name in _LOGS:
            if not text.strip():
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
        details.logs.setdefault(log, []).append(text)


def _failure_text(attributes: dict[str, str], text: str) -> str:
    """A failure's text, exactly; where it has none, its type and message."""
    if text.strip():
        return text
    return ": ".join(filter(None, (attributes.get("type"), attributes.get("message"))))


def _was_not_run(attributes: dict[str, str]) -> bool:
    return attributes.get("status", "").lower() in _NOT_RUN or attributes.get("result", "").lower() in _NOT_RUN


def _note_attachments(metadata: dict[str, Any], text: str) -> None:
    if "[[ATTACHMENT|" in text:
        known = metadata.setdefault("attachments", [])
        known += _attachments(text)[: ATTACHMENTS - len(known)]


def _attachments(text: str) -> list[str]:
    return _ATTACHMENT.findall(text) if "[[ATTACHMENT|" in text else []
