"""What the tests of the readers share: one call that reads a whole report, and builders of small archives."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import tarfile
import tracemalloc
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from ibutsu_server.reports import ArtifactRecord, Limits, ReportError, ResultRecord, RunRecord, read_report

RUN_ID = uuid.UUID("11111111-2222-4333-8444-555555555555")
NOW = dt.datetime(2026, 4, 1, 12, tzinfo=dt.UTC)


@dataclasses.dataclass
class Whole:
    """All that a report brought, with the artifacts' contents."""

    format: str
    run: RunRecord
    results: list[ResultRecord]
    run_files: list[tuple[str, bytes]]
    files: dict[uuid.UUID, list[tuple[str, bytes]]]

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(result.result for result in self.results))

    def one(self, test_id: str) -> ResultRecord:
        (found,) = [result for result in self.results if result.test_id == test_id]
        return found

    def texts(self, test_id: str) -> dict[str, str]:
        return {name: data.decode() for name, data in self.files.get(self.one(test_id).id, [])}


def whole(data: bytes, filename: str = "report.xml", limits: Limits = Limits(), run_id: uuid.UUID = RUN_ID) -> Whole:  # noqa: B008
    report = read_report(io.BytesIO(data), filename=filename, run_id=run_id, limits=limits, now=NOW)
    run: RunRecord | None = None
    results: list[ResultRecord] = []
    run_files: list[tuple[str, bytes]] = []
    files: dict[uuid.UUID, list[tuple[str, bytes]]] = {}
    for record in report:
        assert run is not None or isinstance(record, RunRecord), "the run comes first"
        if isinstance(record, RunRecord):
            assert run is None or run.id == record.id
            run = record
        elif isinstance(record, ResultRecord):
            results.append(record)
        elif isinstance(record, ArtifactRecord):
            assert (record.run_id is None) != (record.result_id is None)
            owner = run_files if record.result_id is None else files.setdefault(record.result_id, [])
            owner.append((record.filename, b"".join(record.chunks)))
    assert run is not None
    ids = {result.id for result in results}
    assert len(ids) == len(results)
    assert files.keys() <= ids, "every artifact has its result"
    assert all(result.run_id == run.id for result in results)
    return Whole(report.format, run, results, run_files, files)


def refusal(data: bytes, filename: str = "report.xml", limits: Limits = Limits()) -> ReportError:  # noqa: B008
    with pytest.raises(ReportError) as caught:
        whole(data, filename, limits)
    sentence = str(caught.value)
    assert sentence.startswith(filename)
    assert sentence.endswith(".")
    assert sentence.isprintable()
    assert len(sentence) < 1200
    return caught.value


class Stream(io.RawIOBase):
    """An upload that is made while it is read, from its beginning at each rewind."""

    def __init__(self, make: Callable[[], Iterable[bytes]]) -> None:
        self._make = make
        self._parts: Iterator[bytes] = iter(())
        self._rest = b""
        self.given = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        assert (offset, whence) == (0, 0)
        self._parts, self._rest, self.given = iter(self._make()), b"", 0
        return 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 <= size <= 4 << 20, "nothing is read whole"
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return b""
            self._rest = part
        data, self._rest = self._rest[:size], self._rest[size:]
        self.given += len(data)
        return data


def peak_of(make: Callable[[], Iterable[bytes]], limits: Limits = Limits()) -> tuple[str, int, int]:  # noqa: B008
    """The refusal, if it was one, how many bytes of the upload were read, and the most that were held meanwhile."""
    upload: Any = Stream(make)
    reason = ""
    tracemalloc.start()
    try:
        for record in read_report(upload, filename="a", run_id=RUN_ID, limits=limits, now=NOW):
            for _ in getattr(record, "chunks", ()):
                pass
    except ReportError as error:
        reason = error.reason
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return reason, upload.given, most


def tar_of(members: Iterable[tuple[str, bytes] | tarfile.TarInfo], mode: str = "w:gz", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def json_of(**values: Any) -> bytes:
    return json.dumps(values).encode()


@pytest.fixture(scope="session")
def read() -> Callable[..., Whole]:
    return whole


@pytest.fixture(scope="session")
def refuse() -> Callable[..., ReportError]:
    return refusal


@pytest.fixture(scope="session")
def tar() -> Callable[..., bytes]:
    return tar_of


@pytest.fixture(scope="session")
def zipped() -> Callable[..., bytes]:
    return zip_of


@pytest.fixture(scope="session")
def as_json() -> Callable[..., bytes]:
    return json_of


@pytest.fixture(scope="session")
def streamed() -> Callable[..., Stream]:
    return Stream


@pytest.fixture(scope="session")
def peak() -> Callable[..., tuple[str, int, int]]:
    return peak_of
