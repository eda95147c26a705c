"""What one upload takes at most: memory and time of the reports that were written to take the most."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from ibutsu_server.reports import Limits

RUN = "0f7a1c1e-5a7b-4a0e-8d55-0d7b7f1f2a01"
FIRST = "1c5a2b3c-4d5e-4f60-8172-8394a5b6c7d8"

MIB = 1 << 20

# A sixteenth of the defaults, so that the tests are quick.
LOW = Limits(xml_tag=MIB // 4, xml_text=2 * MIB, metadata_size=MIB, json_size=MIB // 4, json_values=16_000)


def xml(*parts: bytes | tuple[bytes, int]) -> Callable[[], Iterator[bytes]]:
    """`<testsuite>` and what follows; a pair is repeated that often, in pieces."""

    def make() -> Iterator[bytes]:
        yield b"<testsuite>"
        for part in parts:
            if isinstance(part, bytes):
                yield part
            else:
                once, count = part
                many = max(1, 65536 // len(once))
                for _ in range(count // many):
                    yield once * many
                yield once * (count % many)

    return make


WIDE = "😀".encode()


@pytest.mark.parametrize(
    "make",
    [
        xml(b"<testcase><failure>", (b"x", MIB), WIDE, b"</failure></testcase></testsuite>"),
        xml(b"<testcase><skipped> ", (b"x", MIB), WIDE, b"</skipped></testcase></testsuite>"),
        xml(b"<testcase><error/><error>", (b"x", MIB), b"</error><error>", WIDE, b"</error></testcase></testsuite>"),
        xml(b"<system-out>", (b"x", MIB), WIDE, b"</system-out></testsuite>"),
        xml(b"<testcase>", (b'<flakyError message="' + b"x" * 100_000 + b'"/>', 300)),
        xml(b"<testcase>", (b'<failure message="' + b"x" * 100_000 + b'"/>', 300)),
        xml(b"<testcase>", (b"<error>y</error>", 500_000)),
        xml(b"<testcase><failure>", (b"<x/>y", 500_000)),
        xml(b"<system-out>", (b"[[ATTACHMENT|", 100_000), b"</system-out></testsuite>"),
    ],
)
def test_texts_take_a_small_multiple_of_their_limit(make: Any, peak: Any) -> None:
    assert peak(make, LOW)[2] < 4 * LOW.xml_text


def numbered(pattern: bytes, count: int) -> bytes:
    return b"".join(pattern % number for number in range(count))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (xml(b"<testcase", numbered(b" a%d=''", 200_000), b"/>"), "attributes"),
        (xml(numbered(b"<e%d" + b"x" * 1000 + b"/>", 20_000)), "names of elements and attributes have more"),
        (xml(numbered(b"<e a%d" + b"x" * 1000 + b"=''/>", 20_000)), "names of elements and attributes have more"),
        (xml((b'<testsuite name="' + b"x" * 10_000 + b'">', 500)), "the open elements"),
        (xml((b'<testcase name="' + b"x" * 10_000 + b'">', 500)), "the open elements"),
        (xml(b"<testcase>", numbered(b"<property name='%d' value=''/>", 50_000)), "the texts of one test case"),
        (xml(numbered(b"<property name='%d' value=''/>", 50_000)), "the properties of one test"),
        (
            # Each suite is longer than what is held back, so that its results are gone before its property.
            xml(
                *(
                    b"<testsuite>"
                    + b"<testcase/>" * 20_000
                    + b"<property name='%d' value='" % number
                    + b"v" * 200_000
                    + b"'/></testsuite>"
                    for number in range(7)
                )
            ),
            "the properties of the run",
        ),
        (xml(numbered(b"<property name='%d' value=''/>", 5_000), (b"<testcase/>", 5_000)), "too many for so many"),
    ],
)
def test_what_is_kept_of_xml_is_bounded(make: Any, words: str, peak: Any) -> None:
    reason, _, most = peak(make, LOW)
    assert words in reason
    # The names and the copies of properties have bounds of their own, which are not lowered here.
    # Ten thousand results are held back for properties that may follow.
    most_of_all = {"the properties of the run": 32 * MIB}.get(words, 12 * MIB)
    assert most < (100 * MIB if "names" in words or "too many" in words else most_of_all)


def test_the_properties_of_many_files_are_bounded(zipped: Any, refuse: Any) -> None:
    files = [
        (f"{number}.xml", b'<testsuite><property name="%d" value="%s"/></testsuite>' % (number, b"x" * 5000))
        for number in range(300)
    ]
    assert "the properties of the run" in refuse(zipped(files), limits=LOW).reason


def archive_of(text: bytes, tar: Any) -> Callable[[], Iterable[bytes]]:
    data = tar([(f"{RUN}/{FIRST}/result.json", text)])
    return lambda: [data]


@pytest.mark.parametrize("item", ["[]", "{}", '{"a":0}', "[[],[]]", "0", "0.5", '"é"', "[" * 150 + "]" * 150])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_json_of_very_many_values_is_refused_before_it_is_parsed(item: str, encoding: str, tar: Any, peak: Any) -> None:
    count = LOW.json_size // len(item.encode(encoding)) - 50
    text = f'{{"test_id": "t", "result": "passed", "metadata": {{"a": [{",".join([item] * count)}]}}}}'.encode(encoding)
    reason, _, most = peak(archive_of(text[: LOW.json_size], tar), LOW)
    assert "more than 16,000 values" in reason
    assert most < 3 * MIB


def test_commas_and_brackets_in_strings_are_no_values(tar: Any, as_json: Any, read: Any) -> None:
    text = ',[{"\\' * 20_000
    data = tar([(f"{RUN}/{FIRST}/result.json", as_json(test_id="t", result="passed", metadata={"a": text}))])
    assert read(data, limits=LOW).one("t").metadata["a"] == text


def test_wide_text_in_json_takes_a_small_multiple_of_its_size(tar: Any, peak: Any) -> None:
    text = b'{"test_id": "' + WIDE + b"x" * 250_000 + b'\\u0000", "result": "passed"}'
    assert peak(archive_of(text, tar), LOW)[2] < 16 * LOW.json_size


def test_an_attachment_mark_without_an_end_costs_no_quadratic_time(read: Any) -> None:
    def spent(count: int) -> float:
        data = b"<testsuite><system-out>" + b"[[ATTACHMENT|" * count + b"</system-out></testsuite>"
        start = time.process_time()
        read(data)
        return time.process_time() - start

    assert spent(400_000) < 60 * max(spent(40_000), 0.01)


def test_the_names_of_attachments_are_bounded(read: Any) -> None:
    names = "".join(f"[[ATTACHMENT|{name}]]" for name in ("a b.png", "x" * 1001, "c[1].png", "d|e"))
    assert read(f"<testsuite><system-out>{names}</system-out></testsuite>".encode()).run.metadata == {
        "attachments": ["a b.png", "c[1].png", "d|e"]
    }


def test_a_gzip_of_tiny_members_costs_no_quadratic_time(peak: Any) -> None:
    byte = gzip.compress(b"x", 1, mtime=0)

    def spent(count: int) -> float:
        start = time.process_time()
        reason = peak(lambda: [gzip.compress(b'<testsuite name="'), byte * count])[0]
        assert "before it is complete" in reason
        return time.process_time() - start

    assert spent(100_000) < 40 * max(spent(10_000), 0.05)
