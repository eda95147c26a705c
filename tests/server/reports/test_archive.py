"""Ibutsu archives: what pytest-ibutsu writes, and what nobody honest does."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import tarfile
import tracemalloc
import uuid
from typing import Any

import pytest

from ibutsu_server.reports import ArtifactRecord, Limits, ReportError, read_report

RUN = "0f7a1c1e-5a7b-4a0e-8d55-0d7b7f1f2a01"
FIRST = "1c5a2b3c-4d5e-4f60-8172-8394a5b6c7d8"
SECOND = "2d6b3c4d-5e6f-4071-9283-94a5b6c7d8e9"


@pytest.fixture
def result(as_json: Any) -> Any:
    def make(test_id: str = "test_a", **values: Any) -> bytes:
        return as_json(**{"test_id": test_id, "result": "passed", "duration": 0.5, **values})

    return make


@pytest.fixture
def archive(tar: Any, result: Any, as_json: Any) -> bytes:
    return tar(
        [
            (f"{RUN}/", b""),
            (
                f"{RUN}/run.json",
                as_json(
                    id=RUN,
                    start_time="2026-01-02T03:04:05+00:00",
                    duration=9.5,
                    source="local",
                    component=None,
                    env=None,
                    summary={"collected": 7},
                    metadata={"project": "shop", "env": "stage", "jenkins": {"build_number": "7"}},
                ),
            ),
            (f"{RUN}/pytest.log", b"run log"),
            (f"{RUN}/{FIRST}/", b""),
            (
                f"{RUN}/{FIRST}/result.json",
                result(
                    "test_a",
                    id=FIRST,
                    result="failed",
                    start_time="2026-01-02T03:04:06+00:00",
                    params={"browser": "x"},
                    metadata={"user_properties": {"p": 1, "env": "lost"}, "env": "prod", "component": "cart"},
                ),
            ),
            (f"{RUN}/{FIRST}/traceback.log", b"boom"),
            (f"{RUN}/{FIRST}/screens/1/shot.png", b"\x89PNG\0"),
            (f"{RUN}/{SECOND}/empty.log", b""),
            (f"{RUN}/{SECOND}/result.json", result("test_b", result="xpassed", start_time="")),
        ]
    )


def test_an_archive_is_read_whole(archive: bytes, read: Any) -> None:
    report = read(archive, f"{RUN}.tar.gz")
    assert report.format == "archive"
    run = report.run
    assert run.id == uuid.UUID(RUN)
    assert run.start_time == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert (run.duration, run.source, run.project, run.env) == (9.5, "local", "shop", "stage")
    assert run.summary == {"collected": 7}
    assert run.metadata["jenkins"] == {"build_number": "7"}
    assert report.run_files == [("pytest.log", b"run log")]
    first, second = report.results
    assert (first.id, first.test_id, first.result) == (uuid.UUID(FIRST), "test_a", "failed")
    assert (first.env, first.component, first.params) == ("prod", "cart", {"browser": "x"})
    assert first.metadata == {
        "p": 1,
        "env": "prod",
        "component": "cart",
        "run": RUN,
    }
    assert second.start_time is None
    assert report.files == {
        first.id: [("traceback.log", b"boom"), ("screens/1/shot.png", b"\x89PNG\0")],
        second.id: [("empty.log", b"")],
    }


def test_a_plain_tar_is_read_alike(archive: bytes, read: Any) -> None:
    assert read(gzip.decompress(archive), "x.tar") == read(archive, "x.tar.gz")


def test_a_run_without_run_json_is_built_from_its_results(tar: Any, result: Any, read: Any) -> None:
    report = read(
        tar(
            [
                (f"{RUN}/{FIRST}/result.json", result(start_time="2026-01-02T00:00:00", metadata={"project": "shop"})),
                (f"{RUN}/{SECOND}/result.json", result(start_time="2026-01-01T00:00:00")),
            ]
        )
    )
    assert report.run.start_time == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert report.run.project == "shop"


def test_what_postgresql_cannot_hold_is_replaced(tar: Any, read: Any) -> None:
    text = rb'{"test_id":"a\u0000b","result":"passed","metadata":{"k\u0000":["\ud800",NaN,1e999,{"n":"\ud83d\ude00"}]}}'
    (result,) = read(tar([(f"{RUN}/{FIRST}/result.json", text)])).results
    assert result.test_id == "a\ufffdb"
    assert result.metadata["k\ufffd"] == ["\ufffd", None, None, {"n": "😀"}]


def test_a_second_result_json_is_an_artifact(tar: Any, result: Any, read: Any) -> None:
    members = [(f"{RUN}/{FIRST}/result.json", result("first")), (f"{RUN}/{FIRST}/result.json", b"mine")]
    report = read(tar(members))
    assert [one.test_id for one in report.results] == ["first"]
    assert report.texts("first") == {"result.json": "mine"}


def test_what_the_client_could_not_write_counts_as_an_error(tar: Any, as_json: Any, read: Any) -> None:
    report = read(
        tar(
            [
                (f"{RUN}/run.json", as_json(error="serialization_failed", run_id=RUN)),
                (f"{RUN}/{FIRST}/result.json", as_json(error="serialization_failed", result_id=FIRST)),
            ]
        )
    )
    assert report.counts == {"error": 1}
    assert len(report.run.notes) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "JSON"),
        (b"[]", "a list"),
        (b'{"test_id": "a", "result": "passed"', "JSON is broken"),
        (b"\xff\xfe\x00", "JSON"),
        (b'{"result": "passed"}', "test_id"),
        (b'{"test_id": 7, "result": "passed"}', '"test_id" is a number, not a string'),
        (b'{"test_id": "a", "result": "great"}', "'great'"),
        (b'{"test_id": "a"}', '"result" is None'),
        (b'{"test_id": "a", "result": "passed", "duration": true}', '"duration" is true or false'),
        (b'{"test_id": "a", "result": "passed", "duration": 1' + b"0" * 400 + b"}", "too large"),
        (b'{"test_id": "a", "result": "passed", "duration": 1e308}', "too large"),
        (b'{"test_id": "a", "result": "passed", "duration": 1' + b"0" * 5000 + b"}", "JSON cannot be read"),
        (b'{"test_id": "a", "result": "passed", "metadata": []}', '"metadata" is a list'),
        (b'{"test_id": "a", "result": "passed", "params": "x"}', '"params" is a string'),
        (b'{"test_id": "a", "result": "passed", "env": 1}', '"env" is a number'),
        (b'{"test_id": "a", "result": "passed", "x": ' + b"[" * 300 + b"]" * 300 + b"}", "deep"),
        (b'{"a":' * 200_000, "deep"),
    ],
)
def test_json_of_the_wrong_shape_is_refused_by_name(text: bytes, words: str, tar: Any, refuse: Any) -> None:
    error = refuse(tar([(f"{RUN}/{FIRST}/result.json", text)]), "a.tar.gz")
    assert words in error.reason
    assert f"member {RUN}/{FIRST}/result.json" in str(error)


def test_a_run_json_of_the_wrong_shape(tar: Any, refuse: Any) -> None:
    assert '"summary" is a list' in refuse(tar([(f"{RUN}/run.json", b'{"summary": []}')])).reason


def test_json_of_too_many_bytes(tar: Any, refuse: Any) -> None:
    data = tar([(f"{RUN}/run.json", b"{}" + b" " * 5000)])
    assert "larger than 4,096 bytes" in refuse(data, limits=Limits(json_size=4096)).reason


def test_folders_that_wait_for_their_result_are_bounded(tar: Any, refuse: Any) -> None:
    data = tar([(f"{RUN}/{uuid.UUID(int=number)}/a.log", b"") for number in range(10_002)])
    assert "more than 10,000 folders" in refuse(data).reason


def test_notes_of_results_that_were_not_written_are_bounded(tar: Any, as_json: Any, read: Any) -> None:
    text = as_json(error="serialization_failed")
    run = read(tar([(f"{RUN}/{uuid.UUID(int=number)}/result.json", text) for number in range(25)])).run
    assert len(run.notes) == 21
    assert run.notes[-1] == "5 more results were not written and count as errors."


def test_folders_must_be_named_for_ids(tar: Any, result: Any, refuse: Any) -> None:
    assert "UUID of a run" in refuse(tar([(f"my-run/{FIRST}/result.json", result())])).reason
    assert "UUID of a result" in refuse(tar([(f"{RUN}/my-test/result.json", result())])).reason
    assert "UUID of a result" in refuse(tar([(f"{RUN}/logs/", b"")])).reason


def test_an_archive_holds_one_run(tar: Any, result: Any, refuse: Any) -> None:
    members = [(f"{RUN}/{FIRST}/result.json", result()), (f"{SECOND}/{FIRST}/result.json", result())]
    assert "another run" in refuse(tar(members)).reason


def test_artifacts_without_their_result_are_refused(tar: Any, refuse: Any) -> None:
    assert "no result.json" in refuse(tar([(f"{RUN}/{FIRST}/a.log", b"x")])).reason


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device or pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    ],
)
def test_links_and_devices_are_refused(kind: bytes, words: str, tar: Any, refuse: Any) -> None:
    info = tarfile.TarInfo(f"{RUN}/{FIRST}/result.json")
    info.type = kind
    info.linkname = "/etc/passwd"
    assert words in refuse(tar([(f"{RUN}/", b""), info])).reason


@pytest.mark.parametrize("name", ["/{run}/a.log", "{run}/../a.log", "{run}/{first}/../../../a", "{run}/..\\a.log"])
def test_paths_that_climb_are_refused(name: str, tar: Any, refuse: Any) -> None:
    name = name.format(run=RUN, first=FIRST)
    assert "path" in refuse(tar([(f"{RUN}/", b""), (name, b"x")])).reason


def test_bounds_on_members(tar: Any, refuse: Any) -> None:
    data = tar([(f"{RUN}/{number}.log", b"") for number in range(50)])
    assert "more than 20 members" in refuse(data, limits=Limits(members=20)).reason
    assert "larger than 3 bytes" in refuse(tar([(f"{RUN}/a.log", b"1234")]), limits=Limits(member_size=3)).reason


@pytest.mark.parametrize("size", [-1, -(1 << 40), -(1 << 70)])
def test_a_negative_size_is_refused_and_the_upload_not_read_whole(size: int, refuse: Any) -> None:
    class Upload(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 <= size <= 1 << 20
            return super().read(size)

    for name in (f"{RUN}/a.log", f"{RUN}/{FIRST}/result.json", "a.xml"):
        info = tarfile.TarInfo(name)
        info.size = size
        data = info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)
        # Later Pythons refuse it themselves, by the offset.
        assert any(words in refuse(data).reason for words in ("negative", "begins before", "invalid offset"))
        with pytest.raises(ReportError):
            list(read_report(Upload(data), filename="a.tar", run_id=uuid.UUID(int=1)))


def test_a_header_that_claims_a_giant_name_is_refused(refuse: Any) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 1 << 32
    assert "header of more than" in refuse(info.tobuf(tarfile.GNU_FORMAT) + b"a" * 4096).reason


def test_a_chain_of_headers_is_refused(refuse: Any) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type = tarfile.XGLTYPE
    refuse(info.tobuf() * 5000)


def test_an_archive_that_is_cut_short_is_refused_wherever(archive: bytes, refuse: Any) -> None:
    plain = gzip.decompress(archive)
    end = len(plain.rstrip(b"\0")) // 512 * 512 + 512  # where the end mark begins
    for size in range(1024, end + 1, 256):
        refuse(plain[:size])
    for size in range(20, len(archive), 50):
        refuse(archive[:size])
    assert "too early" in refuse(archive[:-1]).reason


def test_a_broken_header_is_not_taken_for_the_end(archive: bytes, refuse: Any) -> None:
    plain = bytearray(gzip.decompress(archive))
    place = plain.index(f"{RUN}/pytest.log".encode())
    plain[place] ^= 1
    assert "broken" in refuse(bytes(plain)).reason


def test_a_tar_that_ends_between_two_members_is_cut_short(archive: bytes, refuse: Any) -> None:
    plain = gzip.decompress(archive)
    assert "end mark" in refuse(plain[: len(plain.rstrip(b"\0")) // 512 * 512 + 512]).reason


def test_memory_does_not_grow_with_the_number_of_members(tar: Any) -> None:
    def peak(count: int) -> int:
        data = tar(((f"{RUN}/{number}.log", b"") for number in range(count)), "w")
        tracemalloc.start()
        try:
            for _ in read_report(io.BytesIO(data), filename="a", run_id=uuid.UUID(int=1)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # What else the process does meanwhile is counted too, and is not there each time.
    small, large = (min(peak(count) for _ in range(5)) for count in (100, 1000))
    assert large < small + 100_000


def test_long_and_unicode_names_are_kept(tar: Any, result: Any, read: Any) -> None:
    name = "ß" * 120 + ' "quoted"; .txt'
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        members = [(f"{RUN}/{FIRST}/result.json", result("t")), (f"{RUN}/{FIRST}/{name}", b"x")]
        assert read(tar(members, "w:gz", format=format_)).texts("t") == {name: "x"}


def test_contents_are_streamed_and_gone_with_the_next_record(tar: Any, result: Any) -> None:
    data = tar([(f"{RUN}/{FIRST}/result.json", result()), (f"{RUN}/{FIRST}/a", b"x" * 300_000), (f"{RUN}/b", b"y")])
    records = iter(read_report(io.BytesIO(data), filename="a", run_id=uuid.uuid4()))
    first = next(record for record in records if isinstance(record, ArtifactRecord))
    chunks = iter(first.chunks)
    assert 0 < len(next(chunks)) <= 65536
    next(records)
    with pytest.raises(Exception, match="gone"):
        next(chunks)


def test_files_beside_the_run_are_left_out(tar: Any, result: Any, read: Any) -> None:
    report = read(tar([("./", b""), (".DS_Store", b"x"), (f"./{RUN}/{FIRST}/result.json", result("t"))]))
    assert [one.test_id for one in report.results] == ["t"]
