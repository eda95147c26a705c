"""The way in: an upload, the format that it is found to have, and its records."""

from __future__ import annotations

import dataclasses
import datetime as dt
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Literal, TypeVar
from xml.parsers import expat

from ibutsu_server.reports.archive import read_archive
from ibutsu_server.reports.bundle import File, Packed, files_of_tar, files_of_zip, xml_of
from ibutsu_server.reports.detect import HEAD, Kind, describe, kind_of
from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.junit import read_junit
from ibutsu_server.reports.limits import Limits
from ibutsu_server.reports.records import ArtifactRecord, Record
from ibutsu_server.reports.streams import Budget, Gunzip, Reader, Source, read_fully
from ibutsu_server.reports.tar import TarMember, tar_members
from ibutsu_server.reports.values import as_uuid, uuid_in

Format = Literal["junit", "archive"]

_JSON_FILES = frozenset(("run.json", "result.json"))

# What a parser or an unpacker may raise for contents that are broken. Not `Exception`: an error of ours is one.
_MALFORMED = (
    EOFError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    ValueError,
    expat.ExpatError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)

_T = TypeVar("_T")


class Report(Iterable[Record]):
    """The records of one upload, to be gone through once. `format` is known before the first of them."""

    def __init__(self, guard: _Guard, format: Format, records: Iterator[Record]) -> None:  # noqa: A002
        self.format = format
        self._guard = guard
        self._records = records

    def __iter__(self) -> Iterator[Record]:
        records = self._guard.each(self._records)
        return map(self._guarded, records) if self.format == "archive" else records

    def _guarded(self, record: Record) -> Record:
        if isinstance(record, ArtifactRecord):
            return dataclasses.replace(record, chunks=self._guard.each(record.chunks))
        return record


class _Guard:
    """Turns whatever a broken upload raises into a `ReportError` with the file's name."""

    def __init__(self, source: Source, filename: str) -> None:
        self._source = source
        self._filename = filename

    def call(self, function: Callable[[], _T]) -> _T:
        try:
            return function()
        except (ReportError, *_MALFORMED) as error:
            raise self.translated(error) from error

    def each(self, items: Iterable[_T]) -> Iterator[_T]:
        try:
            yield from items
        except (ReportError, *_MALFORMED) as error:
            raise self.translated(error) from error

    def translated(self, error: Exception) -> Exception:
        if self._source.failure is not None:
            return self._source.failure
        if not isinstance(error, ReportError):
            error = ReportError(f"it cannot be read ({type(error).__name__}: {error})")
        error.filename = error.filename or self._filename
        return error


def read_report(
    upload: BinaryIO,
    *,
    filename: str,
    run_id: uuid.UUID,
    digest: str = "",
    limits: Limits = Limits(),  # noqa: B008
    now: dt.datetime | None = None,
) -> Report:
    """The report in `upload`, which is read from its beginning.

    `run_id` is that of a JUnit report whose file name has no UUID. `now` is the start of one that names no time.
    `digest` stands for the bytes: several files may name one run, and each has results of its own.
    """
    source = Source(upload)
    guard = _Guard(source, filename)
    named = uuid_in(filename)
    run_id, results = (named, uuid.uuid5(named, digest)) if named and digest else (named or run_id, named or run_id)
    now = now or dt.datetime.now(dt.UTC)

    def opened() -> Report:
        format, records = _open(source, limits, run_id, results, now)  # noqa: A001
        return Report(guard, format, records)

    return guard.call(opened)


def _open(
    source: Source, limits: Limits, run_id: uuid.UUID, results: uuid.UUID, now: dt.datetime
) -> tuple[Format, Iterator[Record]]:
    def junit(files: Iterable[File]) -> tuple[Format, Iterator[Record]]:
        return "junit", read_junit(files, run_id=run_id, results=results, limits=limits, now=now)

    def contents() -> Reader:
        source.rewind()
        return Gunzip(source, Budget(limits, lambda: source.consumed)) if packed else source

    head = read_fully(source.rewind(), HEAD)
    if not head:
        raise ReportError("the file is empty")
    kind = kind_of(head)
    packed = kind is Kind.GZIP
    if packed:
        head = read_fully(contents(), HEAD)
        kind = kind_of(head)
    match kind:
        case Kind.XML:
            return junit([(None, contents())])
        case Kind.ZIP if not packed:
            return junit(files_of_zip(source, limits))
        case Kind.TAR:
            if _is_archive(tar_members(contents(), limits), limits):
                return "archive", read_archive(tar_members(contents(), limits), limits)
            return junit(files_of_tar(tar_members(contents(), limits), limits))
        case _:
            inside = "gzip of " if packed else ""
            raise ReportError(
                f"it is neither JUnit XML nor an Ibutsu archive, nor a gzip, tar or zip of JUnit files, "
                f"but {inside}{describe(head)}"
            )


def _is_archive(members: Iterator[TarMember], limits: Limits) -> bool:
    """Whether a tar is an Ibutsu archive rather than JUnit files, by the first member that tells."""
    packed = Packed(limits)
    for member in members:
        if not member.parts:
            continue
        if as_uuid(member.parts[0]) or (not member.is_dir and member.parts[-1] in _JSON_FILES):
            return True
        if not member.is_dir and xml_of(member.name, member, packed) is not None:
            return False
    raise ReportError("the tar holds neither an Ibutsu archive's run folder nor a JUnit XML file")
