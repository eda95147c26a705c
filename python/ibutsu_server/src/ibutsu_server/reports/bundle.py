"""JUnit files together in a tar or a zip. What is not XML is left out."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterable, Iterator

from ibutsu_server.reports.detect import is_xml
from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.limits import Limits
from ibutsu_server.reports.paths import safe_parts
from ibutsu_server.reports.streams import Budget, Reader, Source, read_fully
from ibutsu_server.reports.tar import TarMember
from ibutsu_server.reports.xmltext import HEAD

# A member's name, if it is one, and its contents, if they are XML.
File = tuple[str | None, Reader | None]

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


def files_of_tar(members: Iterable[TarMember]) -> Iterator[File]:
    for member in members:
        if not member.is_dir:
            yield member.name, _if_xml(member)


def files_of_zip(source: Source, limits: Limits) -> Iterator[File]:
    packed = source.seek(0, io.SEEK_END)
    budget = Budget(limits, lambda: packed)
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
    for info in infos:
        if not info.filename.endswith("/"):
            try:
                with archive.open(info) as contents:
                    yield info.filename, _if_xml(_Metered(contents, budget))
            except zipfile.BadZipFile as error:
                raise ReportError(f"the zip is broken ({error})", member=info.filename) from error


def _if_xml(reader: Reader) -> Reader | None:
    head = read_fully(reader, HEAD)
    return Again(head, reader) if is_xml(head) else None


class _Metered:
    def __init__(self, reader: Reader, budget: Budget) -> None:
        self._reader = reader
        self._budget = budget

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._budget.spend(len(data))
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
