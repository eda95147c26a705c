"""JUnit files together in a tar or a zip. What is not XML is left out."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator

from ibutsu_server.reports.detect import GZIP, is_xml
from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.limits import Limits
from ibutsu_server.reports.paths import safe_parts
from ibutsu_server.reports.streams import Budget, Gunzip, Reader, Source, read_fully
from ibutsu_server.reports.tar import TarMember
from ibutsu_server.reports.xmltext import HEAD

# A member's name, if it is one, and its contents, if they are XML.
File = tuple[str | None, Reader | None]

EMPTY_ZIP = 22  # bytes of a zip that is nothing but the end of its table of contents
_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
_ENCRYPTED = 0x1  # a flag of a zip's member


class Again:
    """A reader, after its beginning has been looked at."""

    def __init__(self, head: bytes, reader: Reader) -> None:
        self._head = head
        self._reader = reader

    def read(self, size: int, /) -> bytes:
        if not self._head:
            return self._reader.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


class Packed:
    """The gzip files in one tar or zip, which have one budget together."""

    def __init__(self, limits: Limits) -> None:
        self._read = 0
        self._budget = Budget(limits, lambda: self._read)

    def unpacked(self, reader: Reader) -> Reader:
        return Gunzip(_Counted(reader, self._count), self._budget)

    def _count(self, size: int) -> None:
        self._read += size


def xml_of(name: str, reader: Reader, packed: Packed) -> Reader | None:
    """The contents of the member `name`, unpacked where they are a gzip, if they are XML."""
    try:
        head = read_fully(reader, HEAD)
        reader = Again(head, reader)
        if head.startswith(GZIP):
            reader = packed.unpacked(reader)
            head = read_fully(reader, HEAD)
            reader = Again(head, reader)
    except ReportError as error:
        error.member = error.member or name
        raise
    return reader if is_xml(head) else None


def files_of_tar(members: Iterable[TarMember], limits: Limits) -> Iterator[File]:
    packed = Packed(limits)
    for member in members:
        if not member.is_dir:
            yield member.name, xml_of(member.name, member, packed)


def files_of_zip(source: Source, limits: Limits) -> Iterator[File]:
    packed = source.seek(0, io.SEEK_END)
    budget = Budget(limits, lambda: packed)
    if packed == EMPTY_ZIP:
        raise ReportError("the zip holds no files")
    try:
        archive = zipfile.ZipFile(_ZipFile(source, packed, limits))
    except zipfile.BadZipFile as error:
        raise ReportError(f"the zip is broken or cut short ({error})") from error
    infos = archive.infolist()
    if len(infos) > limits.members:
        raise ReportError(f"it has more than {limits.members:,} members", limit="members")
    for info in infos:
        safe_parts(info.filename, limits)
        if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise ReportError("it is a link or a device, which is refused", member=info.filename)
        if info.flag_bits & _ENCRYPTED:
            raise ReportError("it is encrypted", member=info.filename)
        if info.compress_type not in _METHODS:
            raise ReportError("it is packed by a method that is not read; use deflate", member=info.filename)
        if info.file_size > limits.member_size:
            raise ReportError(
                f"it is larger than {limits.member_size:,} bytes", limit="member_size", member=info.filename
            )
    inner = Packed(limits)
    for info in infos:
        if not info.filename.endswith("/"):
            try:
                with archive.open(info) as contents:
                    yield info.filename, xml_of(info.filename, _Counted(contents, budget.spend), inner)
            except zipfile.BadZipFile as error:
                raise ReportError(f"the zip is broken ({error})", member=info.filename) from error


class _Counted:
    def __init__(self, reader: Reader, count: Callable[[int], None]) -> None:
        self._reader = reader
        self._count = count

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._count(len(data))
        return data


class _ZipFile:
    """What zipfile needs of a file. It reads the table of contents in one piece, which is bounded here."""

    def __init__(self, source: Source, size: int, limits: Limits) -> None:
        self._source = source
        self._size = size
        self._limit = limits.zip_directory
        self.tell = source.tell

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._source.tell(), io.SEEK_END: self._size}[whence]
        if not 0 <= start + offset <= self._size:
            raise ReportError("the zip is broken or cut short (it points outside of itself)")
        return self._source.seek(start + offset)

    def read(self, size: int = -1, /) -> bytes:
        if size > self._limit:
            raise ReportError(
                f"the zip's table of contents is larger than {self._limit:,} bytes", limit="zip_directory"
            )
        return self._source.read(self._limit if size < 0 else size)
