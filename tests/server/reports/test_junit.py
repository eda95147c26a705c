"""The rules by which JUnit XML becomes results."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from ibutsu_server.reports import Limits


def suite(inside: str, attributes: str = 'name="s"') -> bytes:
    return f"<testsuite {attributes}>{inside}</testsuite>".encode()


@pytest.mark.parametrize(
    ("children", "outcome"),
    [
        ("", "passed"),
        ("<failure/>", "failed"),
        ("<error/>", "error"),
        ("<skipped/>", "skipped"),
        ("<ignored/>", "skipped"),
        ('<skipped type="pytest.xfail"/>', "xfailed"),
        ("<xfailure/>", "xfailed"),
        ("<xpassed/>", "xpassed"),
        ("<skipped/><error/><failure/>", "failed"),
        ("<skipped/><error/>", "error"),
        ("<xpassed/><xfailure/>", "xfailed"),
        ("<flakyFailure/><flakyError/><rerunFailure/><rerunError/><oddity><failure/></oddity>", "failed"),
        ("<flakyFailure/><rerunError/><oddity/>", "passed"),
        ("<flakyFailure><failure/></flakyFailure>", "passed"),
    ],
)
def test_the_children_decide_the_outcome(children: str, outcome: str, read: Any) -> None:
    report = read(suite(f'<testcase name="t">{children}</testcase>'))
    assert report.counts == {outcome: 1}


@pytest.mark.parametrize(
    "attribute",
    [
        'status="notrun"',
        'status="disabled"',
        'status="Skipped"',
        'status="untested"',
        'result="suppressed"',
        'status="run" result="skipped"',
    ],
)
def test_a_test_that_was_not_run_is_skipped(attribute: str, read: Any) -> None:
    report = read(suite(f"<testcase {attribute}/><testcase {attribute}><failure/></testcase>"))
    assert [result.result for result in report.results] == ["skipped", "failed"]


def test_no_other_word_of_a_status_decides(read: Any) -> None:
    report = read(suite('<testcase status="Failed" result="error"/><testcase status=""/>'))
    assert report.counts == {"passed": 2}


@pytest.mark.parametrize(
    ("attributes", "test_id"),
    [
        ('classname="a.b.C" name="t[1.5]"', "C.t[1.5]"),
        ('classname="C" name="t"', "C.t"),
        ('classname="" name="a.t"', "a.t"),
        ('name="größe"', "größe"),
        ('classname="a.b.C"', "C"),
        ("", "(unnamed)"),
    ],
)
def test_the_test_id(attributes: str, test_id: str, read: Any) -> None:
    assert [r.test_id for r in read(suite(f"<testcase {attributes}/>")).results] == [test_id]


def test_a_name_of_megabytes_is_kept(read: Any) -> None:
    name = "n" * 3_000_000
    report = read(suite(f'<testcase name="{name}"><failure message="{name}">{name}</failure></testcase>'))
    assert report.results[0].test_id == name
    assert report.texts(name)["traceback.log"] == name


def test_suites_nest_and_tests_may_stand_anywhere(read: Any) -> None:
    depth = 900
    inner = "<testsuite>" * depth + '<testcase name="deep"/>' + "</testsuite>" * depth
    report = read(f'<testsuites name="r"><testcase name="bare"/>{inner}<testcase name="last"/></testsuites>'.encode())
    assert [result.test_id for result in report.results] == ["bare", "deep", "last"]
    assert {result.source for result in report.results} == {"r"}


def test_a_test_inside_a_test_is_a_result_of_its_own(read: Any) -> None:
    report = read(suite('<testcase name="a"><testcase name="b"/><failure/></testcase>'))
    assert [(result.test_id, result.result) for result in report.results] == [("b", "passed"), ("a", "failed")]


def test_properties_of_the_inner_win(read: Any) -> None:
    def properties(**values: str) -> str:
        each = "".join(f'<property key="{key}" value="{value}"/>' for key, value in values.items())
        return f"<properties>{each}</properties>"

    report = read(
        f"<testsuites>{properties(a='root', b='root', c='root', run='x')}<testsuite>{properties(a='suite', b='suite')}"
        f"<testcase name='t'>{properties(a='case')}</testcase></testsuite><testsuite><testcase name='u'/></testsuite>"
        "</testsuites>".encode()
    )
    own = {"run": str(report.run.id)}
    assert report.one("t").metadata == {"a": "case", "b": "suite", "c": "root"} | own
    assert report.one("u").metadata == {"a": "root", "b": "root", "c": "root"} | own
    assert report.run.metadata == {"a": "root", "b": "root", "c": "root", "run": "x"}


def late(value: str) -> str:
    return f'<properties><property name="late" value="{value}"/></properties>'


def test_properties_may_come_last(read: Any) -> None:
    report = read(
        f'<testsuites><testsuite><testcase name="a">{late("case")}</testcase><testcase name="b"/>{late("suite")}'
        f'</testsuite><testcase name="c"/>{late("root")}</testsuites>'.encode()
    )
    assert [result.metadata["late"] for result in report.results] == ["case", "suite", "root"]
    assert report.run.metadata == {"late": "root"}


@pytest.mark.parametrize("case", [f"<testcase name='{'n' * 1000}'/>" * 3000, "<testcase/>" * 30_000])
def test_in_a_long_file_the_run_keeps_the_properties_that_come_last(case: str, read: Any) -> None:
    report = read(suite(f'<testsuite name="inner">{case}{late("v")}</testsuite>'))
    assert not any("late" in result.metadata for result in report.results)
    assert report.run.metadata == {"late": "v"}
    (note,) = report.run.notes
    assert note.startswith('The properties of the suite "inner" in line 1 come after its test cases, which are many;')


def test_properties_that_come_last_are_bounded(read: Any, refuse: Any) -> None:
    many = "".join(f"<property name='{number}' value=''/>" for number in range(3000))
    report = read(suite("<testcase/>" * 300 + f"<testsuite><testcase/>{many}</testsuite>{many}"))
    assert [len(result.metadata) for result in report.results] == [1] * 300 + [3001]
    assert len(report.run.metadata) == 3000
    data = suite("<testcase/>" * 100 + f"<property name='p' value='{'v' * 1000}'/>")
    assert "properties of the suites" in refuse(data, limits=Limits(inherited_size=50_000)).reason


def test_a_property_may_have_its_value_as_text(read: Any) -> None:
    report = read(suite('<testcase name="t"><properties><property name="p">v</property></properties></testcase>'))
    assert report.results[0].metadata["p"] == "v"


def test_the_file_of_the_suite_goes_before_that_of_the_test_and_the_class(read: Any) -> None:
    case = '<testcase classname="com.acme.Shop" name="t" file="case.py" line="7"/>'
    assert read(suite(case, 'file="suite.py"')).results[0].metadata["fspath"] == "suite.py"
    result = read(suite(case)).results[0]
    assert (result.metadata["fspath"], result.metadata["line"]) == ("case.py", "7")
    assert read(suite('<testcase classname="com.acme.Shop"/>')).results[0].metadata["fspath"] == "com/acme"
    assert "fspath" not in read(suite('<testcase classname="Shop"/>')).results[0].metadata


def test_the_duration_is_the_roots_or_the_sum(read: Any) -> None:
    cases = '<testcase time="1,000.5"/><testcase time="0.25"/><testcase time=""/><testcase time="nan"/><testcase/>'
    report = read(suite(cases))
    assert [result.duration for result in report.results] == [1000.5, 0.25, 0, 0, 0]
    assert report.run.duration == 1000.75
    assert read(suite(cases, 'time="3"')).run.duration == 3


def test_start_times(read: Any) -> None:
    now = dt.datetime(2026, 4, 1, 12, tzinfo=dt.UTC)
    report = read(
        b'<testsuites timestamp="2026-01-01T00:00:00-05:00"><testcase name="a"/>'
        b'<testsuite timestamp="2026-01-02T00:00:00"><testcase name="b"/>'
        b'<testcase name="c" timestamp="2026-01-03T00:00:00Z"/></testsuite></testsuites>'
    )
    assert report.run.start_time == dt.datetime(2026, 1, 1, 5, tzinfo=dt.UTC)
    assert [result.start_time.day for result in report.results] == [1, 2, 3]
    report = read(suite("<testcase/>"))
    assert report.run.start_time == report.results[0].start_time == now
    # The root says nothing: the earliest of its suites is nearer to the truth than the time of the upload.
    report = read(b'<testsuites><testsuite timestamp="2026-01-02"/><testsuite timestamp="2026-01-01"/></testsuites>')
    assert report.run.start_time == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_texts_are_exact(read: Any) -> None:
    report = read(
        suite(
            '<testcase name="t"><failure>a &lt;b&gt; &#x263A;<![CDATA[ <c> &amp; ]]]]><![CDATA[> ]]>\t\n</failure>'
            "<system-out>o1</system-out><system-out>o2</system-out><system-err> \n</system-err></testcase>"
        )
    )
    assert report.texts("t") == {"traceback.log": "a <b> ☺ <c> &amp; ]]> \t\n", "system-out.log": "o1\n\no2"}


def test_a_failure_without_text_has_its_type_and_message(read: Any) -> None:
    report = read(suite('<testcase name="t"><failure type="T" message="m"/><error message="second"/></testcase>'))
    assert report.texts("t") == {"traceback.log": "T: m\n\nsecond"}


def test_claims_that_are_wrong_are_remarked_and_not_counted(read: Any) -> None:
    report = read(suite("<testcase/><testcase><error/></testcase>", 'name="s" tests="1" errors="0" failures="0"'))
    assert report.counts == {"passed": 1, "error": 1}
    assert report.run.notes == (
        'The suite "s" in line 1 claims 1 test, 0 errors; its test cases are 2 tests, 1 error.',
    )


@pytest.mark.parametrize(
    ("claims", "inside"),
    [
        ('tests="2" errors="1" skipped="1"', "<testcase><skipped/><error/></testcase><testcase/>"),
        ('tests="2" errors="1" skipped="0"', "<testcase><skipped/><error/></testcase><testcase/>"),
        ('tests="2" skipped="1"', '<testcase status="notrun"/><testcase><skipped/></testcase>'),
        ('tests="2" skipped="1" disabled="1"', '<testcase status="notrun"/><testcase><skipped/></testcase>'),
        ('tests="1" failures="0"', "<testcase><flakyFailure/><flakyError/></testcase>"),
        ('tests="3" failures="1" errors="1"', "<testcase><flakyFailure/><flakyError/></testcase>"),
        ('tests="2" failures="2"', "<testcase><failure/><rerunFailure/></testcase>"),
    ],
)
def test_honest_ways_to_count_are_not_remarked(claims: str, inside: str, read: Any) -> None:
    assert read(suite(inside, claims)).run.notes == ()


def test_a_suite_may_count_the_suites_in_it(read: Any) -> None:
    inner = suite("<testcase><failure/></testcase>" * 3, 'tests="3" failures="3"').decode()

    def notes(claims: str) -> tuple[str, ...]:
        return read(f"<testsuites><testsuite {claims}><testcase/>{inner}</testsuite></testsuites>".encode()).run.notes

    assert notes('tests="4" failures="3"') == ()
    assert notes('tests="2" failures="1"') == ()
    assert notes('tests="2" failures="3"') == ("The suite in line 1 claims 2 tests; its test cases are 4 tests.",)


def test_the_root_counts_tests_and_not_suites(read: Any) -> None:
    report = read(b'<testsuites tests="1"><testsuite><testcase/><testcase/></testsuite></testsuites>')
    assert report.run.notes == ("The suite in line 1 claims 1 test; its test cases are 2 tests.",)


def test_remarks_are_bounded(read: Any) -> None:
    report = read(b"<testsuites>" + b'<testsuite tests="9"/>' * 1000 + b"</testsuites>")
    assert len(report.run.notes) == 21
    assert report.run.notes[-1] == "980 more remarks of this kind are not shown."


def test_an_empty_suite_is_a_run_without_results(read: Any) -> None:
    report = read(b"<testsuites/>")
    assert report.results == []
    assert report.run.notes == ()


def test_ids_are_the_same_each_time_and_those_of_uuid5(read: Any) -> None:
    data = suite("<testcase/>" * 300)
    report = read(data)
    assert [r.id for r in report.results] == [uuid.uuid5(report.run.id, str(index)) for index in range(300)]
    assert all(r.id.version == 5 and hash(r.id) == hash(uuid.UUID(str(r.id))) for r in report.results[:10])


def test_a_uuid4_in_the_file_name_is_the_run_id(read: Any) -> None:
    name = "e0b0f2f4-0f3c-4c1e-9e0a-3f1f5a5d7c11"
    assert read(suite(""), f"run-{name}.xml").run.id == uuid.UUID(name)
    no_uuid4 = "e0b0f2f4-0f3c-1c1e-9e0a-3f1f5a5d7c11"
    assert read(suite(""), f"{no_uuid4}.xml").run.id == uuid.UUID("11111111-2222-4333-8444-555555555555")


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "utf-8"),
        ("iso-8859-1", "ISO-8859-1"),
        ("cp1252", "windows-1252"),
        ("utf-16", "UTF-16"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"),
        ("shift_jis", "Shift_JIS"),
        ("utf-8", "utf-16"),
        ("utf-8", "us-ascii"),
    ],
)
def test_encodings(encoding: str, declared: str, read: Any) -> None:
    word = "テスト" if encoding == "shift_jis" else "größe" * 50_000
    text = f'<?xml version="1.0" encoding="{declared}"?>\n<testsuite><testcase name="{word}"/></testsuite>'
    report = read(text.encode(encoding))
    assert report.results[0].test_id == word
    assert report.run.notes == ()


@pytest.mark.parametrize("size", [0, 65_530, 65_535, 65_536])
def test_what_xml_forbids_is_replaced_wherever_it_stands(size: int, read: Any) -> None:
    fill = "x" * size
    text = f"{fill}\x1b[0m&#27;&#x0;&#xD800;&#9;<![CDATA[\x00&#27;{fill}&#27;]]>&#27;\ufffe é"
    report = read(suite(f'<testcase name="{fill}a&#8;b\x07"><failure>{text}</failure></testcase>'))
    (result,) = report.results
    assert result.test_id == f"{fill}a\ufffdb\ufffd"
    bad = "\ufffd"
    assert report.texts(result.test_id)["traceback.log"] == (
        f"{fill}{bad}[0m{bad}{bad}{bad}\t{bad}&#27;{fill}&#27;{bad}{bad} é"
    )
    assert any("replaced by U+FFFD" in note for note in report.run.notes)


def test_bytes_that_are_not_of_the_encoding_are_replaced(read: Any) -> None:
    report = read(b'<testsuite><testcase name="caf\xe9"/><testcase name="\xef\xbf\xbd"/></testsuite>')
    assert [result.test_id for result in report.results] == ["caf\ufffd", "\ufffd"]
    assert report.run.notes == ("1 character that XML does not allow was replaced by U+FFFD.",)


def test_an_empty_first_line_is_forgiven_and_counted(read: Any, refuse: Any) -> None:
    start = b'\n\n<?xml version="1.0"?>\n<testsuite>'
    assert read(start + b"</testsuite>").results == []
    assert refuse(start + b"\n<oops").line == 5


def test_namespaces_are_no_hindrance(read: Any) -> None:
    report = read(
        b'<j:testsuite xmlns:j="urn:j"><j:testcase name="a"><j:failure>f</j:failure></j:testcase></j:testsuite>'
    )
    assert report.texts("a") == {"traceback.log": "f"}


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"<testsuite>\n<testcase>\n", 3, "before it is complete"),
        (b"<testsuite>\n<testcase name='a", 2, "before it is complete"),
        (b"<testsuite>\n\n</testsuit>", 3, "mismatched tag"),
        (b"<testsuite>&nbsp;</testsuite>", 1, "undefined entity"),
        (b"<html>\n<body/></html>", 1, "<html>"),
        (b'<?xml version="1.0" encoding="klingon"?><testsuite/>', 1, "klingon"),
        (b"<testsuite/>\n<testsuite/>", 2, "junk"),
    ],
)
def test_broken_xml_is_refused_with_its_line(data: bytes, line: int, words: str, refuse: Any) -> None:
    error = refuse(data)
    assert error.line == line
    assert f"line {line}" in str(error)
    assert words in error.reason


def test_too_many_results(refuse: Any) -> None:
    assert "more than 5 test cases" in refuse(suite("<testcase/>" * 6), limits=Limits(results=5)).reason
