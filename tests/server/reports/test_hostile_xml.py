"""XML that was written to hurt: refused early, in little memory and time."""

from __future__ import annotations

import io
import time
import tracemalloc
import uuid
from typing import Any

import pytest

from ibutsu_server.reports import Limits, ReportError, read_report

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (f'<!DOCTYPE t [<!ENTITY l0 "ha">{LAUGHS}]><testsuite name="&l9;">', "refused"),
        ('<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite>&x;', "refused"),
        ('<!DOCTYPE t [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]><testsuite>', "refused"),
        ('<!DOCTYPE t [<!ATTLIST testcase name CDATA "x">]><testsuite>', "refused"),
        ('<!DOCTYPE t SYSTEM "file:///etc/passwd"><testsuite>&x;', "refused"),
    ],
)
def test_entities_are_refused(start: str, words: str, refuse: Any) -> None:
    assert words in refuse(f"{start}</testsuite>".encode()).reason


def test_a_document_type_alone_is_harmless(read: Any) -> None:
    assert read(b'<!DOCTYPE testsuite SYSTEM "junit.dtd"><testsuite><testcase name="t"/></testsuite>').counts


def test_depth_is_bounded(refuse: Any) -> None:
    assert "deep" in refuse(b"<testsuite>" * 200_000).reason
    assert "deep" in refuse(b"<testsuite>" + b"<x>" * 200_000).reason
    assert "deep" in refuse(b"<testsuite><testcase><failure>" + b"<x>" * 200_000).reason
    assert "deep" in refuse(b"<testsuite>" + b"<testcase>" * 200_000).reason


def test_tags_and_texts_are_bounded(refuse: Any) -> None:
    tag = Limits(xml_tag=100_000)
    assert "a tag or comment" in refuse(b'<testsuite name="' + b"x" * 400_000, limits=tag).reason
    assert "a tag or comment" in refuse("<testsuite><!--ü".encode() + "ü".encode() * 300_000, limits=tag).reason
    text = Limits(xml_text=100_000)
    for start in (b"<testcase><failure>", b"<system-out>", b"<testcase><system-err><![CDATA["):
        assert "take more than" in refuse(b"<testsuite>" + start + b"x" * 400_000, limits=text).reason
    many = b"<testsuite><testcase>" + b"<failure>" + b"x" * 1000 + b"</failure>"
    assert "take more than" in refuse(many + b"<error>yyyyyyyyyy</error>" * 20_000, limits=text).reason


def test_the_attributes_of_a_tag_are_bounded_and_its_length_alone_is_not_in_the_way(read: Any, refuse: Any) -> None:
    many = b"<testsuite><testcase" + b"".join(b" a%x='1'" % number for number in range(200_000)) + b"/></testsuite>"
    assert "attributes" in refuse(many).reason
    message = b"<testsuite><testcase name='n'><failure message='" + b"x" * 6_000_000 + b"'/></testcase></testsuite>"
    assert len(read(message).texts("n")["traceback.log"]) == 6_000_000


def test_different_names_are_bounded(refuse: Any) -> None:
    names = b"".join(b"<e%d/>" % number for number in range(20_000))
    assert "different names" in refuse(b"<testsuite>" + names, limits=Limits(xml_names=1000)).reason


def test_properties_that_are_handed_down_are_bounded(refuse: Any) -> None:
    start = b'<testsuite><properties><property name="p" value="' + b"v" * 10_000 + b'"/></properties>'
    inherited = Limits(inherited_size=1_000_000)
    assert "give their tests more" in refuse(start + b"<testcase/>" * 20_000, limits=inherited).reason
    assert "properties of one test" in refuse(start, limits=Limits(metadata_size=5000)).reason
    for attribute in (b"name", b"file"):
        start = b"<testsuite " + attribute + b"='" + b"v" * 10_000 + b"'>"
        assert "give their tests more" in refuse(start + b"<testcase/>" * 20_000, limits=inherited).reason


def test_a_long_attribute_costs_no_quadratic_time(read: Any) -> None:
    def spent(size: int) -> float:
        data = b'<testsuite><testcase name="' + b"&#27;x" * (size // 6) + b'"/></testsuite>'
        start = time.process_time()
        assert len(read(data).results) == 1
        return time.process_time() - start

    spent(100_000)
    assert spent(4_000_000) < 60 * max(spent(400_000), 0.01)


def test_a_long_tag_is_read_in_growing_pieces() -> None:
    class Counted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(size)

    upload = Counted(b'<testsuite name="' + b"x" * 3_000_000 + b'"/>')
    list(read_report(upload, filename="a.xml", run_id=uuid.UUID(int=1)))
    assert upload.reads < 30


@pytest.mark.parametrize(
    ("case", "many"),
    [
        ("<testcase/>", 25_000),
        ('<testcase name="n"><failure>f</failure></testcase>', 12_500),
        ("<x/>", 25_000),
        (" ", 25_000),
    ],
)
def test_memory_does_not_grow_with_the_number_of_tests(case: str, many: int) -> None:
    def peak(count: int) -> int:
        upload = io.BytesIO(b"<testsuite>" + case.encode() * count + b"</testsuite>")
        tracemalloc.start()
        try:
            for _ in read_report(upload, filename="a.xml", run_id=uuid.UUID(int=1)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(2 * many) < peak(many) + 1_000_000


@pytest.mark.parametrize("odd", ["\x1b", "\u2028", "\u202e", "\ue000", "\U000e0001", "\u0378", "\ufdd0"])
def test_a_refusal_shows_nothing_unprintable(odd: str, refuse: Any) -> None:
    refuse(f"<a{odd}/>".encode())
    refuse(f'<?xml version="1.0" encoding="x{odd}"?><testsuite>'.encode())
    with pytest.raises(ReportError) as caught:
        read_report(io.BytesIO(b""), filename=f"a{odd}.xml", run_id=uuid.UUID(int=1))
    assert str(caught.value) == "a\ufffd.xml: the file is empty."


@pytest.mark.parametrize(
    "codec",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-7", "cp037", "cp1026"],
)
@pytest.mark.parametrize(
    "declared", [None, "utf-8", "utf-16", "UTF-7", "cp037", "ebcdic-cp-us", "UCS-4", "unicode_escape"]
)
def test_no_encoding_hides_an_entity(codec: str, declared: str | None, refuse: Any) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    text = f'{head}<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&x;"/></testsuite>'
    refuse(text.encode(codec))


def test_an_entity_that_is_written_in_utf_7_is_refused(refuse: Any) -> None:
    head = b'<?xml version="1.0" encoding="utf-7"?>'
    text = "<!DOCTYPE t [<!ENTITY x 'y'>]><testsuite/>".encode("utf-7")
    assert "refused" in refuse(head + text.replace(b"<", b"+ADw-")).reason


@pytest.mark.parametrize(
    "subset",
    [
        "<!ENTITY % a 'x'>",
        "<!ENTITY % a SYSTEM 'file:///etc/passwd'> %a;",
        "<!ENTITY a PUBLIC 'x' 'http://127.0.0.1:9/'>",
        "<!ENTITY a SYSTEM 'x' NDATA n>",
        "<!NOTATION n SYSTEM 'x'>",
        "<!ELEMENT testsuite ANY>",
        "<?x y?>",
        "",
    ],
)
def test_a_document_type_with_anything_inside_is_refused(subset: str, refuse: Any) -> None:
    assert "declarations of its own" in refuse(f"<!DOCTYPE t [{subset}]><testsuite/>".encode()).reason


@pytest.mark.parametrize("kind", ["SYSTEM 'file:///etc/passwd'", "PUBLIC 'x' 'http://127.0.0.1:9/'"])
def test_an_entity_of_an_external_document_type_is_never_looked_up(kind: str, read: Any, refuse: Any) -> None:
    start = f"<!DOCTYPE testsuite {kind}><testsuite>"
    assert "entity" in refuse(f"{start}&a;</testsuite>".encode()).reason
    assert read(f'{start}<testcase name="t&a;"/></testsuite>'.encode()).one("t")
