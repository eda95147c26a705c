"""Tars, zips and gzips that were written to hurt: refused early, in little memory and time."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import time
import tracemalloc
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from ibutsu_server.reports import Limits, ReportError, read_report

RUN = "0f7a1c1e-5a7b-4a0e-8d55-0d7b7f1f2a01"
FIRST = "1c5a2b3c-4d5e-4f60-8172-8394a5b6c7d8"
KIB = 1 << 10
MIB = 1 << 20


def packed(make: Callable[[], Iterable[bytes]]) -> Callable[[], Iterator[bytes]]:
    def packing() -> Iterator[bytes]:
        packer = zlib.compressobj(6, wbits=31)
        for part in make():
            yield packer.compress(part)
        yield packer.flush()

    return packing


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.type = kind
    return info.tobuf(tarfile.GNU_FORMAT)


def extended(kind: bytes, contents: bytes) -> bytes:
    return header("././@header", len(contents), kind) + contents + bytes(-len(contents) % 512)


def attributes(values: Iterable[tuple[bytes, bytes]]) -> bytes:
    out = []
    for key, value in values:
        size = len(key) + len(value) + 3
        size += len(str(size + len(str(size))))
        out.append(b"%d %s=%s\n" % (size, key, value))
    return b"".join(out)


SPARSE = extended(tarfile.XHDTYPE, attributes([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")]))


def tiny_files(count: int) -> Iterator[bytes]:
    """A tar of empty files that all have one name."""
    block = header(f"{RUN}/0.log")
    for _ in range(count // 1000):
        yield block * 1000
    yield bytes(1024)


@pytest.mark.parametrize("pack", [lambda make: make, packed])
def test_very_many_tiny_files_are_refused_half_way(pack: Any, peak: Any) -> None:
    assert Limits().members == 500_000
    reason, given, most = peak(pack(lambda: tiny_files(20_000)), Limits(members=10_000))
    assert "more than 10,000 members" in reason
    assert given <= 10_000 * 512 + 128 * KIB
    assert most < 3 * MIB


@pytest.mark.slow
def test_a_million_tiny_files_are_refused_half_way(streamed: Any) -> None:
    upload = streamed(lambda: tiny_files(1_000_000))
    with pytest.raises(ReportError, match="more than 500,000 members"):
        for _ in read_report(upload, filename="a", run_id=uuid.UUID(int=1)):
            pass
    assert upload.given < 500_001 * 512 + 128 * KIB


@pytest.mark.parametrize(
    "make",
    [
        lambda: [extended(tarfile.GNUTYPE_LONGNAME, b"a" * 900 * KIB)] * 400,
        lambda: [extended(tarfile.GNUTYPE_LONGLINK, b"a" * 900 * KIB)] * 400,
        lambda: [extended(tarfile.XHDTYPE, attributes([(b"comment", b"a" * 900 * KIB)]))] * 400,
        lambda: [extended(tarfile.XGLTYPE, attributes([(b"comment", b"a" * 900 * KIB)]))] * 400,
        lambda: [extended(tarfile.XHDTYPE, attributes([(b"path", b"a" * 2 * MIB)]))],
        lambda: [SPARSE, header("a", 9 * MIB), b"1000000\n", *([(b"1" * 127 + b"\n") * 4] * 9000)],
    ],
)
def test_headers_of_headers_are_refused_in_little_memory(make: Any, peak: Any) -> None:
    for pack in (lambda make: make, packed):
        reason, _, most = peak(pack(make))
        assert "header of more than 1,024 KiB" in reason
        assert most < 12 * MIB


def test_attributes_for_all_members_are_bounded(peak: Any) -> None:
    def make(size: int) -> Callable[[], Iterator[bytes]]:
        def members() -> Iterator[bytes]:
            for number in range(1000):
                values = attributes([(b"k%d" % number, b"v" * size)])
                yield extended(tarfile.XGLTYPE, values) + header(f"{RUN}/a.log")

        return members

    for size, words in ((5, "more than 100 attributes"), (900 * KIB, "are longer than 65,536 characters")):
        reason, _, most = peak(make(size))
        assert words in reason
        assert most < 8 * MIB


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_long_number_in_an_attribute_costs_no_quadratic_time(kind: bytes, refuse: Any) -> None:
    start = time.process_time()
    assert "more than 255 digits" in refuse(extended(kind, b"1" * 900 * KIB) + header("a") + bytes(1024)).reason
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "name",
    [
        *("/{run}/a", "\\{run}\\a", "\\\\host\\share\\a", "//host/share/a", "C:\\{run}\\a", "c:/{run}/a", "C:a"),
        *("../{run}/a", "..\\{run}\\a", "{run}/..", "{run}/../../a", "{run}/x\\..\\..\\a", "./../a", "{run}\\../a"),
    ],
)
@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_path_that_leaves_the_archive_is_peak(name: str, format_: int, tar: Any, refuse: Any) -> None:
    name = name.format(run=RUN)
    assert "its path" in refuse(tar([(f"{RUN}/", b""), (name, b"x")], format=format_)).reason
    long = attributes([(b"path", name.encode())])
    pax = extended(tarfile.XHDTYPE, long) + header(f"{RUN}/a", 0) + bytes(1024)
    assert "its path" in refuse(header(f"{RUN}/", 0, tarfile.DIRTYPE) + pax).reason


def test_links_are_refused_whatever_they_point_to(refuse: Any) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        for target in ("/etc/passwd", "../../x", f"{RUN}/a", ""):
            info = tarfile.TarInfo(f"{RUN}/{FIRST}/link")
            info.type, info.linkname = kind, target
            assert "a link" in refuse(header(f"{RUN}/a") + info.tobuf()).reason
            pax = extended(tarfile.XHDTYPE, attributes([(b"linkpath", target.encode() or b"x")]))
            assert "a link" in refuse(header(f"{RUN}/a") + pax + info.tobuf()).reason


@pytest.mark.parametrize(
    "values",
    [
        [(b"GNU.sparse.map", b"0,1000000000000"), (b"GNU.sparse.size", b"1000000000000")],
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1000000000000")],
        [(b"GNU.sparse.size", b"9"), (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"9")],
    ],
)
def test_sparse_files_are_refused_in_each_of_their_formats(values: Any, refuse: Any) -> None:
    data = b"1\n0\n1000000000000\n".ljust(512, b"\0") + bytes(512)
    member = extended(tarfile.XHDTYPE, attributes(values)) + header(f"{RUN}/a.log", len(data)) + data
    reason = refuse(header(f"{RUN}/b.log") + member + bytes(1024)).reason
    assert "sparse" in reason or "larger than" in reason


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_peak(kind: int, refuse: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.xml", b"<testsuite/>")
        info = zipfile.ZipInfo("b.xml")
        info.external_attr = (kind | 0o666) << 16
        archive.writestr(info, b"<testsuite/>")
    assert "a link or a device" in refuse(buffer.getvalue()).reason


def zip_with(kernel: bytes, count: int, *, size: int | None = None, packed_size: int | None = None) -> bytes:
    """A zip of `count` members that are all the same bytes of it, and may lie about their sizes."""
    packer = zlib.compressobj(9, wbits=-15)
    data = packer.compress(kernel) + packer.flush()
    size, packed_size = size if size is not None else len(kernel), packed_size or len(data)
    fields = (20, 0, 8, 0, 33, zlib.crc32(kernel), packed_size, size, 5)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", *fields, 0) + b"a.xml" + data
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *fields, 0, 0, 0, 0, 0, 0) + b"a.xml"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(entry) * count, len(local), 0)
    return local + entry * count + end


BLANKS = b"<testsuite>" + b" " * MIB + b"</testsuite>"


def test_a_zip_of_one_member_is_read_as_the_bombs_are_made(read: Any) -> None:
    assert read(zip_with(BLANKS, 1)).counts == {}


@pytest.mark.filterwarnings("ignore:Overlapped entries")
def test_members_that_overlap_share_one_budget(refuse: Any) -> None:
    # Python 3.12 and later 3.11 know of overlaps; what they let through counts as unpacked each time.
    reason = refuse(zip_with(BLANKS, 1000), limits=Limits(ratio_free=4 * MIB)).reason
    assert "250 times" in reason or "verlap" in reason
    reason = refuse(zip_with(BLANKS, 1000), limits=Limits(unpacked_size=4 * MIB)).reason
    assert "unpacks to more than" in reason or "verlap" in reason


@pytest.mark.parametrize(
    "lie",
    [
        {"size": 10},
        {"size": 0},
        {"packed_size": 0x7FFFFFFF},
        {"packed_size": 9},
    ],
)
def test_a_zip_that_lies_about_sizes_is_peak(lie: Any, refuse: Any) -> None:
    tracemalloc.start()
    try:
        refuse(zip_with(BLANKS, 1, **lie))
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_size_that_a_zip_exaggerates_takes_no_memory(read: Any) -> None:
    tracemalloc.start()
    try:
        assert read(zip_with(BLANKS, 1, size=0xFFFFFFFE)).counts == {}
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_zip_inside_a_zip_is_not_opened(zipped: Any, read: Any, refuse: Any) -> None:
    inner = zipped([("a.xml", BLANKS)])
    assert "JUnit XML" in refuse(zipped([("inner.zip", inner)])).reason
    assert len(read(zipped([("inner.zip", inner), ("b.xml", b"<testsuite><testcase/></testsuite>")])).results) == 1


def test_a_gzip_inside_a_gzip_is_not_opened(peak: Any) -> None:
    inner = packed(lambda: [b"<testsuite>", *[b" " * MIB] * 64])
    reason, given, most = peak(packed(inner))
    assert "gzip of binary data" in reason
    assert given < 128 * KIB
    assert most < 4 * MIB


@pytest.mark.parametrize(
    ("start", "fill", "words"),
    [
        (b"", b"\0", "a row of zero bytes"),
        (b"", b" ", "white space"),
        (b"<testsuite", b" ", "a tag or comment"),
        (b"<testsuite a='", b"\0", "a tag or comment"),
        (b"<testsuite>", b" ", "250 times"),
        (b"<testsuite>", b"\0", "250 times"),
        (b"<testsuite><!--", b"-- ", "broken"),
        (b"<testsuite><system-out>", b"x", "the texts of"),
        (b"<testsuite>", b"<testsuite>", "deep"),
        (b"<testsuite>", b"<!---->", "250 times"),
        (b"<testsuite><testcase>", b"<x a='' b=''/>", "250 times"),
        (header(f"{RUN}/a.log", 1 << 30), b"\0", "250 times"),
        (header(f"{RUN}/run.json", 4 * MIB), b"[", "values"),
        (header("a.txt", 1 << 30), b"\0", "250 times"),
        (header("a.xml", 1 << 30), b"\0", "250 times"),
    ],
)
def test_a_gzip_bomb_is_refused_early_whatever_it_unpacks_to(start: bytes, fill: bytes, words: str, peak: Any) -> None:
    many = fill * (MIB // len(fill))
    limits = Limits(ratio_free=5 * MIB, xml_tag=MIB, xml_text=2 * MIB)
    reason, given, most = peak(packed(lambda: [start, *[many] * 30]), limits)
    assert words in reason
    assert given <= 64 * KIB
    # JSON is the most: its bytes, and its text.
    assert most < (17 if words == "values" else 10) * MIB


def test_a_gzip_whose_name_does_not_end_is_read_in_pieces(peak: Any) -> None:
    reason, _, most = peak(lambda: [b"\x1f\x8b\x08\x08" + bytes(6), *[b"x" * MIB] * 50])
    assert "too early" in reason
    assert most < 4 * MIB


def test_members_are_what_their_bytes_say_and_gzips_of_them_stay_files(tar: Any, read: Any) -> None:
    bomb = gzip.compress(bytes(4 * MIB))
    report = read(tar([(f"{RUN}/{FIRST}/result.json", b'{"test_id": "t", "result": "passed"}'), (f"{RUN}/b", bomb)]))
    assert report.run_files == [("b", bomb)]
