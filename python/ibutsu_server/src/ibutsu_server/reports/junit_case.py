"""What a test case has inside: its outcome, logs and properties, by each dialect's elements."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ibutsu_server.reports.junit_run import Suite
from ibutsu_server.reports.limits import KIB
from ibutsu_server.reports.records import Outcome

TRACEBACK = "traceback.log"
_RERUNS = "reruns.log"
LOGS = {"system-out": "system-out.log", "system-err": "system-err.log"}
_RERUN_ELEMENTS = frozenset(("flakyFailure", "flakyError", "rerunFailure", "rerunError"))
_OUTCOME_ELEMENTS: dict[str, Outcome] = {
    "failure": "failed",
    "error": "error",
    "skipped": "skipped",
    "ignored": "skipped",  # TestNG
    "xfailure": "xfailed",
    "xpassed": "xpassed",
}
CASE_ELEMENTS = frozenset((*_OUTCOME_ELEMENTS, *LOGS, *_RERUN_ELEMENTS, "property"))
# What a test case's `status` or `result` says of one that was not run, where other tools write <skipped>: GoogleTest
# (until 1.10 also for GTEST_SKIP), CTest, NUnit (for Assert.Ignore) and behave.
_NOT_RUN = frozenset(("notrun", "disabled", "suppressed", "skipped", "untested"))

# A name ends where the next mark begins: many marks without an end would else be searched in quadratic time.
_ATTACHMENT = re.compile(r"\[\[ATTACHMENT\|((?:(?!\[\[ATTACHMENT\|).){1,1000}?)\]\]")
ATTACHMENTS = 1000  # names kept for one result, or the run
ENCODED_PIECE = 64 * KIB  # characters of a long text that are encoded at a time


class Details:
    """What a test case has besides its attributes; most have nothing."""

    __slots__ = ("logs", "metadata", "outcomes", "properties", "size")

    def __init__(self) -> None:
        self.outcomes: set[Outcome] = set()
        self.logs: dict[str, list[str]] = {}
        self.metadata: dict[str, Any] = {}
        self.properties: dict[str, str] = {}
        self.size = 0

    def add_element(self, name: str, attributes: dict[str, str], text: str, suite: Suite) -> None:
        """Take one of CASE_ELEMENTS but a property."""
        if name in _RERUN_ELEMENTS:
            self._add_rerun(name, attributes, text, suite)
        elif name in LOGS:
            if not is_blank(text):
                self._note_attachments(text)
                self._add_log(LOGS[name], text)
        else:
            self._add_outcome(_OUTCOME_ELEMENTS[name], attributes, text)

    def _add_rerun(self, name: str, attributes: dict[str, str], text: str, suite: Suite) -> None:
        self.metadata["reruns"] = self.metadata.get("reruns", 0) + 1
        kind = "error" if name.endswith("Error") else "failed"
        suite.reruns[kind] = suite.reruns.get(kind, 0) + 1
        title = ": ".join(filter(None, (name, attributes.get("type"), attributes.get("message"))))
        self._add_log(_RERUNS, title, "\n", text)
        self._note_attachments(text)

    def _add_outcome(self, outcome: Outcome, attributes: dict[str, str], text: str) -> None:
        metadata = self.metadata
        if outcome == "skipped" and attributes.get("type") == "pytest.xfail":
            outcome = "xfailed"
        self.outcomes.add(outcome)
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
        text = failure_text(attributes, text)
        if text and outcome != "xpassed":
            self._add_log(TRACEBACK, text)

    def _add_log(self, log: str, *texts: str) -> None:
        known = self.logs.setdefault(log, [])
        if known:
            known.append("\n\n")
        known += texts

    def _note_attachments(self, text: str) -> None:
        if "[[ATTACHMENT|" in text:
            known = self.metadata.setdefault("attachments", [])
            known += attachments(text, ATTACHMENTS - len(known))

    def add_to(self, metadata: dict[str, Any]) -> Outcome:
        metadata.update(self.properties)
        for key, value in self.metadata.items():
            metadata.setdefault(key, value)
        return next((outcome for outcome in _OUTCOME_ELEMENTS.values() if outcome in self.outcomes), "passed")


class _Texts:
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
    return ("".join(texts).encode(),) if sum(map(len, texts)) <= ENCODED_PIECE else _Texts(texts)


def is_blank(text: str) -> bool:
    return not text or text.isspace()  # without a copy, as strip() makes of a long text


def failure_text(attributes: dict[str, str], text: str) -> str:
    """A failure's text, exactly; where it has none, its type and message."""
    if not is_blank(text):
        return text
    return ": ".join(filter(None, (attributes.get("type"), attributes.get("message"))))


def was_not_run(attributes: dict[str, str]) -> bool:
    return attributes.get("status", "").lower() in _NOT_RUN or attributes.get("result", "").lower() in _NOT_RUN


def attachments(text: str, most: int) -> list[str]:
    """The names in the text's `[[ATTACHMENT|…]]` marks."""
    if "[[ATTACHMENT|" not in text:
        return []
    return [found.group(1) for found in itertools.islice(_ATTACHMENT.finditer(text), most)]
