"""Reports made by Hypothesis: what a plain model says must come out; and what was damaged is refused or read."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ibutsu_server.reports import ReportError, read_report
from ibutsu_server.reports.idset import IdSet
from ibutsu_server.reports.values import instant, seconds

# Characters that XML allows. A carriage return is read as a new line, so the model leaves it out.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\n\t")
)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=12)
OUTCOMES = {"failure": "failed", "error": "error", "skipped": "skipped", "xfailure": "xfailed", "xpassed": "xpassed"}
LOGS = {
    "failure": "traceback.log",
    "error": "traceback.log",
    "system-out": "system-out.log",
    "system-err": "system-err.log",
}
CHILDREN = st.sampled_from([*OUTCOMES, "system-out", "system-err", "oddity"])

CASES = st.fixed_dictionaries(
    {
        "name": st.none() | NAMES,
        "classname": st.none() | NAMES | st.lists(NAMES, min_size=1, max_size=3).map(".".join),
        "time": st.none() | st.floats(0, 1e6).map(repr),
        "children": st.lists(st.tuples(CHILDREN, TEXTS, st.booleans()), max_size=4),
        "properties": st.dictionaries(NAMES.filter(bool), TEXTS, max_size=3),
    }
)
SUITES = st.recursive(
    st.tuples(st.just(None), CASES),
    lambda inside: st.tuples(
        st.fixed_dictionaries({"name": NAMES, "properties": st.dictionaries(NAMES.filter(bool), TEXTS, max_size=2)}),
        st.lists(inside, max_size=5),
    ),
    max_leaves=12,
).filter(lambda node: node[0] is not None)


def cdata(text: str) -> str:
    return f"<![CDATA[{text.replace(']]>', ']]]]><![CDATA[>')}]]>"


def attribute(value: str) -> str:
    return quoteattr(value, {"\n": "&#10;", "\t": "&#9;"})


def properties_of(values: dict[str, str]) -> str:
    each = "".join(f"<property name={attribute(k)} value={attribute(v)}/>" for k, v in values.items())
    return f"<properties>{each}</properties>" if values else ""


def written(node: Any) -> str:
    head, inside = node
    if head is not None:
        body = properties_of(head["properties"]) + "\n".join(map(written, inside))
        return f"<testsuite name={attribute(head['name'])}>{body}</testsuite>"
    attributes = "".join(
        f" {key}={attribute(inside[key])}" for key in ("name", "classname", "time") if inside[key] is not None
    )
    children = "".join(
        f"<{child}>{cdata(text) if marked else escape(text)}</{child}>" for child, text, marked in inside["children"]
    )
    return f"<testcase{attributes}>{properties_of(inside['properties'])}{children}</testcase>"


def expected(node: Any, inherited: dict[str, str]) -> list[dict[str, Any]]:
    head, inside = node
    if head is not None:
        return [one for child in inside for one in expected(child, inherited | head["properties"])]
    last = (inside["classname"] or "").split(".")[-1]
    kinds = [child for child, _, _ in inside["children"]]
    texts: dict[str, list[str]] = {}
    for child, text, _ in inside["children"]:
        if child in LOGS and text.strip():
            texts.setdefault(LOGS[child], []).append(text)
    return [
        {
            "test_id": ".".join(part for part in (last, inside["name"]) if part) or "(unnamed)",
            "result": next((outcome for child, outcome in OUTCOMES.items() if child in kinds), "passed"),
            "duration": float(inside["time"] or 0),
            "properties": inherited | inside["properties"],
            "files": {name: "\n\n".join(parts) for name, parts in texts.items()},
        }
    ]


@given(node=SUITES, encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]), packed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_was_written_is_read(node: Any, encoding: str, packed: bool, read: Any) -> None:
    data = f'<?xml version="1.0" encoding="{encoding[:6].rstrip("-")}"?>\n{written(node)}'.encode(encoding)
    report = read(gzip.compress(data) if packed else data)
    model = expected(node, {})
    assert len(report.results) == len(model)
    ours = {"run", "fspath", "line", "skip_reason", "xfail_reason", "message"}
    for result, wanted in zip(report.results, model, strict=True):
        assert result.test_id == wanted["test_id"]
        assert result.result == wanted["result"]
        assert result.duration == wanted["duration"]
        for key, value in wanted["properties"].items():
            if key not in ours:
                assert result.metadata[key] == value
        assert {name: data.decode() for name, data in report.files.get(result.id, [])} == wanted["files"]


FLAT = st.tuples(
    st.fixed_dictionaries({"name": NAMES, "properties": st.dictionaries(NAMES.filter(bool), TEXTS, max_size=1)}),
    st.lists(st.tuples(st.none(), CASES), max_size=2),
)
FILES = st.lists(
    st.tuples(
        st.lists(st.text("abcäß😀 .,_-", min_size=1, max_size=60), min_size=1, max_size=3)
        .map(lambda parts: "/".join(["r", *parts]))
        .filter(lambda name: ".." not in name.split("/")),
        FLAT | st.sampled_from([b"", b"text", b"<coverage/>", b"\0\1", b"{}"]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda file: file[0],
)


@given(files=FILES, kind=st.sampled_from(["zip", "tar", "tar.gz"]), folders=st.booleans())
@settings(max_examples=60, deadline=None)
def test_files_together_are_one_run(
    *, files: Any, kind: str, folders: bool, tar: Any, zipped: Any, read: Any, refuse: Any
) -> None:
    members = [(name, one if isinstance(one, bytes) else written(one).encode()) for name, one in files]
    if folders:
        members.insert(0, ("r/", b""))
    data = zipped(members) if kind == "zip" else tar(members, "w" if kind == "tar" else "w:gz")
    suites = [one for _, one in files if not isinstance(one, bytes)]
    if not suites:
        assert "JUnit XML" in refuse(data).reason
        return
    report = read(data)
    model = [case for suite in suites for case in expected(suite, {})]
    assert [(one.test_id, one.result, one.duration) for one in report.results] == [
        (case["test_id"], case["result"], case["duration"]) for case in model
    ]
    assert [one.id for one in report.results] == [uuid.uuid5(report.run.id, str(index)) for index in range(len(model))]
    assert report.run.duration == pytest.approx(sum(case["duration"] for case in model))
    assert report.run.source == next((suite[0]["name"] for suite in suites if suite[0]["name"]), report.run.source)
    for result, case in zip(report.results, model, strict=True):
        assert {name: data.decode() for name, data in report.files.get(result.id, [])} == case["files"]
    others = len(files) - len(suites)
    assert [note.split(" ")[0] for note in report.run.notes if "left out" in note] == [str(others)] * (others > 0)


def consume(data: bytes) -> None:
    """Read all; only a ReportError may come of it."""
    try:
        for record in read_report(io.BytesIO(data), filename="a", run_id=uuid.UUID(int=1)):
            for _ in getattr(record, "chunks", ()):
                pass
    except ReportError as error:
        assert str(error).isprintable()


@given(node=SUITES, cut=st.floats(0, 1, exclude_max=True))
@settings(max_examples=80, deadline=None)
def test_a_report_that_is_cut_short_is_refused(node: Any, cut: float, refuse: Any) -> None:
    data = written(node).encode()
    refuse(data[: int(len(data) * cut)])


@given(data=st.data(), node=SUITES)
@settings(max_examples=200, deadline=None)
def test_damage_gives_records_or_a_refusal(data: Any, node: Any, tar: Any, zipped: Any) -> None:
    xml = written(node).encode()
    run = str(uuid.UUID(int=7))
    result = json.dumps({"test_id": "t", "result": "passed", "metadata": {"a": [1, "x"]}}).encode()
    files = [(f"{run}/{run}/result.json", result), (f"{run}/{run}/a.log", b"x" * 700), (f"{run}/run.json", b"{}")]
    whole = data.draw(
        st.sampled_from(
            [
                xml,
                gzip.compress(xml),
                zipped([("a.xml", xml), ("b.xml", xml)]),
                tar(files),
                tar(files, "w"),
                tar([("a.xml", xml), ("b.txt", b"")], "w"),
            ]
        )
    )
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                damaged[place] = data.draw(st.integers(0, 255))
            case 1:
                damaged[place:place] = data.draw(st.binary(max_size=8))
            case _:
                del damaged[place : place + data.draw(st.integers(1, 9))]
        if not damaged:
            break
    consume(bytes(damaged))


@given(st.binary(max_size=600) | st.binary(max_size=200).map(lambda data: b"<testsuite " + data))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_records_or_a_refusal(data: bytes) -> None:
    consume(data)


@given(st.text() | st.from_regex(r"[0-9:T ,.+Zs-]{1,30}", fullmatch=True))
@settings(max_examples=300)
@example("Fri, ")
def test_any_text_is_a_time_and_a_number_or_none(text: str) -> None:
    assert seconds(text) >= 0
    value = instant(text)
    assert value is None or value.utcoffset() is not None


@given(st.lists(st.integers(0, 3000), max_size=6000))
@settings(max_examples=20, deadline=None)
def test_an_id_set_is_a_set(numbers: list[int]) -> None:
    ids = [uuid.uuid5(uuid.NAMESPACE_DNS, str(number)) for number in numbers]
    compact, plain = IdSet(), set()
    for one in ids:
        assert (one in compact) == (one in plain)
        assert compact.add(one) == (one not in plain)
        plain.add(one)
    assert len(compact) == len(plain)
