"""The report, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator

import click

from ibutsu_core.redaction import redactor
from ibutsu_server import __version__
from ibutsu_server.ops.doctor.finding import EXIT_CODES, Finding, Status, worst

MARKS = {Status.OK: ("✓", "green"), Status.SKIPPED: ("-", "cyan"), Status.WARNING: ("!", "yellow"),
         Status.FAILURE: ("✗", "red")}  # fmt: skip
PLAIN = {"✓": "+", "✗": "x"}
"""Marks for a terminal that cannot show the others."""


def clean(findings: Iterable[Finding], secrets: Iterable[str]) -> list[Finding]:
    """Return the findings without any of these texts, should a driver or a server have put one into a sentence."""
    hide = redactor(secrets)
    return [
        dataclasses.replace(
            one, message=hide(one.message), cause=one.cause and hide(one.cause), mend=one.mend and hide(one.mend)
        )
        for one in findings
    ]


def lines(findings: list[Finding], encoding: str = "utf-8") -> Iterator[str]:
    """Yield the lines of the report, in colours; `click.echo` takes those away where there is no terminal."""
    width = max(len(one.check) for one in findings)
    for one in _together(findings):
        mark, colour = MARKS[one.status]
        yield f"{click.style(_shown(mark, encoding), fg=colour, bold=True)} {one.check:<{width}}  {one.message}"
        for label, text in (("cause", one.cause), ("mend", one.mend and f"$ {one.mend}")):
            if text:
                yield f"  {'':<{width}}  {click.style(f'{label}:', bold=True)} {text}"
    counts = Counter(one.status for one in findings)
    words = {Status.FAILURE: "failed", Status.WARNING: "to be looked at", Status.OK: "fine", Status.SKIPPED: "skipped"}
    yield ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts[status]) + "."


def document(findings: list[Finding], seconds: float) -> str:
    """Return the report as JSON. Keys are never taken away, nor do checks change their names."""
    status = worst(findings)
    return json.dumps(
        {
            "status": status,
            "exit_code": EXIT_CODES[status],
            "version": __version__,
            "seconds": round(seconds, 3),
            "findings": [dataclasses.asdict(one) for one in findings],
        },
        indent=2,
        ensure_ascii=False,
    )


def _together(findings: list[Finding]) -> Iterator[Finding]:
    """Yield the findings; what was skipped for the same reason is on the line of the first of them."""
    skipped: dict[str, list[str]] = {}
    for one in findings:
        if one.status is Status.SKIPPED:
            skipped.setdefault(one.message, []).append(one.check)
    for one in findings:
        if one.status is not Status.SKIPPED:
            yield one
        elif one.message in skipped:
            others = skipped.pop(one.message)[1:]
            also = f" Nor was: {', '.join(others)}." if others else ""
            yield dataclasses.replace(one, message=one.message + also)


def _shown(mark: str, encoding: str) -> str:
    try:
        mark.encode(encoding)
    except UnicodeEncodeError:
        return PLAIN[mark]
    return mark
