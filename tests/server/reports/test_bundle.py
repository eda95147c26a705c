"""What kind of file an upload is, and JUnit files that come packed or together."""

from __future__ import annotations

import gzip
import io
import tarfile
import uuid
import zipfile
import zlib
from typing import Any

import pytest

from ibutsu_server.reports import Limits, read_report

ONE = b'<testsuite name="one" timestamp="2026-01-02" time="2"><testcase name="a"/><testcase name="b"/></testsuite>'
TWO = b"""<testsuites name="two" timestamp="2026-01-01" time="3">
<testcase name="c"><failure>f</failure></testcase></testsuites>"""
MEMBERS = [("r/one.xml", ONE), ("r/notes.txt", b"no"), ("r/coverage.xml", b"<coverage/>"), ("r/two.xml", TWO)]


@pytest.fixture(params=["zip", "tar", "tar.gz"])
def bundle(request: pytest.FixtureRequest, tar: Any, zipped: Any) -> Any:
    return {"zip": zipped, "tar": lambda members: tar(members, "w"), "tar.gz": tar}[request.param]


def test_several_files_are_one_run(bundle: Any, read: Any) -> None:
    report = read(bundle(MEMBERS), "reports")
    assert report.format == "junit"
    assert [result.test_id for result in report.results] == ["a", "b", "c"]
    assert [r.id for r in report.results] == [uuid.uuid5(report.run.id, str(index)) for index in range(3)]
    assert [result.source for result in report.results] == ["one", "one", "two"]
    assert report.run.duration == 5
    assert report.run.start_time.day == 1
    assert report.texts("c") == {"traceback.log": "f"}
    assert report.run.notes == (
        "2 files of the upload are no JUnit XML and were left out: r/notes.txt, r/coverage.xml.",
    )


def test_packed_files_among_them_are_read(bundle: Any, read: Any, refuse: Any) -> None:
    report = read(bundle([("one.xml.gz", gzip.compress(ONE)), ("log.gz", gzip.compress(b"a log")), ("two.xml", TWO)]))
    assert [result.test_id for result in report.results] == ["a", "b", "c"]
    assert report.run.notes == ("1 file of the upload is no JUnit XML and was left out: log.gz.",)
    assert len(read(bundle([("one.xml.gz", gzip.compress(ONE))])).results) == 2
    broken = refuse(bundle([("one.xml.gz", gzip.compress(ONE)[:-20])]), "reports.zip")
    assert str(broken).startswith("reports.zip, member one.xml.gz: ")
    bomb = gzip.compress(b"<testsuite>" + b" " * 80_000_000)
    assert "bomb" in refuse(bundle([("bomb.xml.gz", bomb)])).reason


def test_a_zip_without_files_is_refused(zipped: Any, refuse: Any) -> None:
    assert refuse(zipped([])).reason == "the zip holds no files"


def test_a_broken_file_among_them_is_named(bundle: Any, refuse: Any) -> None:
    error = refuse(bundle([("one.xml", ONE), ("two.xml", TWO[:40])]), "reports.zip")
    assert str(error).startswith("reports.zip, member two.xml, line 1: ")


def test_no_junit_file_among_them(bundle: Any, refuse: Any) -> None:
    assert "JUnit XML" in refuse(bundle([("coverage.xml", b"<coverage/>"), ("a.txt", b"x")])).reason
    assert "JUnit XML" in refuse(bundle([("a.txt", b"x")])).reason


@pytest.mark.parametrize("name", ["report.xml", "report.tar.gz", "report", "report.zip"])
def test_the_contents_tell_the_format_not_the_name(name: str, read: Any) -> None:
    assert len(read(ONE, name).results) == 2
    assert len(read(gzip.compress(ONE), name).results) == 2


def test_gzip_of_several_members(read: Any) -> None:
    assert len(read(gzip.compress(ONE[:30]) + gzip.compress(ONE[30:]) + b"\0" * 100).results) == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b" \n\t", "white space"),
        (b"hello", "text"),
        (b'{"a": 1}', "JSON"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (bytes(10240), "zero"),
        (b"\x80\x81\x82" * 300, "binary"),
        (gzip.compress(b"", mtime=0), "gzip of white space"),
        (gzip.compress(b"hello", mtime=0), "gzip of text"),
        (gzip.compress(gzip.compress(ONE), mtime=0), "gzip of"),
    ],
)
def test_what_is_no_report_is_said(data: bytes, words: str, refuse: Any) -> None:
    assert words in refuse(data).reason


def test_packed_files_that_are_cut_short(tar: Any, zipped: Any, refuse: Any) -> None:
    packed = gzip.compress(ONE)
    for size in (len(packed) - 1, len(packed) - 8, len(packed) // 2):
        assert "too early" in refuse(packed[:size]).reason
    assert "cut short" in refuse(tar(MEMBERS, "w")[:1024]).reason
    assert "zip" in refuse(zipped(MEMBERS)[:-30]).reason


def test_a_wrong_checksum(zipped: Any, refuse: Any) -> None:
    packed = bytearray(gzip.compress(ONE))
    packed[-8] ^= 1
    assert "gzip data is broken" in refuse(bytes(packed)).reason
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("one.xml", ONE)
    assert "CRC" in refuse(stored.getvalue().replace(b'name="a"', b'name="z"')).reason


def bomb(size: int, before: bytes = b"<testsuite>", fill: bytes = b" ") -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(before)]
    parts += [packer.compress(fill * (1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def test_a_bomb_is_refused_by_its_ratio(refuse: Any) -> None:
    limits = Limits(ratio_free=1 << 20)
    assert "250 times" in refuse(bomb(8 << 20), limits=limits).reason
    inside = tarfile.TarInfo("a.bin")
    inside.size = 8 << 20
    assert "250 times" in refuse(bomb(8 << 20, inside.tobuf(), b"\0"), limits=limits).reason


def test_a_bomb_in_a_zip_is_refused(zipped: Any, refuse: Any) -> None:
    data = zipped([("a.xml", b"<testsuite>" + b" " * (8 << 20))])
    assert "250 times" in refuse(data, limits=Limits(ratio_free=1 << 20)).reason
    assert "larger than" in refuse(data, limits=Limits(member_size=1 << 20)).reason


def test_the_total_size_is_bounded(refuse: Any) -> None:
    limits = Limits(unpacked_size=1 << 20)
    assert "unpacks to more than 1,048,576 bytes" in refuse(bomb(2 << 20), limits=limits).reason


def test_a_zip_of_many_files_is_refused_before_its_table_is_read(zipped: Any, refuse: Any) -> None:
    data = zipped([(f"{number}.xml", b"") for number in range(300)])
    assert "table of contents" in refuse(data, limits=Limits(zip_directory=8192)).reason
    assert "more than 200 members" in refuse(data, limits=Limits(members=200)).reason


@pytest.mark.parametrize("name", ["../a.xml", "/etc/a.xml", "a/../../b.xml", "C:\\a.xml", "a\\..\\b.xml"])
def test_paths_that_climb_are_refused(name: str, bundle: Any, refuse: Any) -> None:
    assert "path" in refuse(bundle([(name, ONE)])).reason


def test_a_link_in_a_zip_is_refused(refuse: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a.xml")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert "link" in refuse(buffer.getvalue()).reason


def test_a_name_may_be_empty_in_a_zip(zipped: Any, read: Any) -> None:
    data = zipped([("a.xml", ONE), ("b.xml", TWO)]).replace(b"a.xml", b"\0.xml")
    assert [result.test_id for result in read(data).results] == ["a", "b", "c"]


def test_a_failing_upload_is_no_fault_of_the_report(zipped: Any) -> None:
    class AwayError(RuntimeError):
        pass

    class Away(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise AwayError("the database is away")
            return super().read(size)

    big = ONE.replace(b"</testsuite>", b"<testcase/>" * 50_000 + b"</testsuite>")
    for data in (big, gzip.compress(big, 0), zipped(MEMBERS)):
        with pytest.raises(AwayError):
            list(read_report(Away(data), filename="a.xml", run_id=uuid.uuid4()))
