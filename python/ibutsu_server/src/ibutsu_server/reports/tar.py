"""The members of a tar, one after the other, from a stream that is read once."""

from __future__ import annotations

import dataclasses
import re
import tarfile
from collections.abc import Iterator
from typing import Self

from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.limits import KIB, MIB, Limits
from ibutsu_server.reports.paths import safe_parts
from ibutsu_server.reports.streams import PIECE, Reader, read_fully

HEADERS = MIB  # bytes of the headers of one member: its own, and those with its long name and attributes
GLOBAL_ATTRIBUTES = 100  # pax attributes that hold for all members
GLOBAL_SIZE = 64 * KIB  # characters of them
BLOCK = 512  # bytes, tar's own


# tarfile looks for numbers in attributes, up to Python 3.12.5 in quadratic time.
_LONG_NUMBER = re.compile(rb"\d{256}")


class _Forward:
    """What tarfile needs of a file, on a stream. It reads headers from it, and skips."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._position = 0
        self.headers = 0  # bytes read of those of the next member

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0, /) -> int:
        if whence or position < self._position:
            raise ReportError("the tar has a member that begins before the one in front of it ends")
        while self._position < position:
            if not self.data(min(PIECE, position - self._position)):
                break
        return self._position

    def read(self, size: int, /) -> bytes:
        self.headers += max(size, 0)
        if size < 0 or self.headers > HEADERS:
            raise ReportError(f"the tar has a header of more than {HEADERS // KIB:,} KiB")
        data = read_fully(self._reader, size)
        if size > BLOCK and _LONG_NUMBER.search(data):
            raise ReportError("the tar has a header with a number of more than 255 digits")
        self._position += len(data)
        return data

    def data(self, size: int) -> bytes:
        data = self._reader.read(size)
        self._position += len(data)
        return data


class _Info(tarfile.TarInfo):
    """tarfile takes a broken or missing header for the end; only the end mark is."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.EmptyHeaderError as error:  # type: ignore[attr-defined]
            raise ReportError("the tar ends without its end mark; the upload is cut short") from error
        except tarfile.HeaderError as error:
            raise ReportError(f"the tar is broken or cut short ({error})") from error


@dataclasses.dataclass(frozen=True, slots=True)
class TarMember:
    """A file or folder. `read` gives its contents, in order, until the next member is asked for."""

    name: str
    parts: tuple[str, ...]
    is_dir: bool
    size: int
    contents: TarContents

    def read(self, size: int, /) -> bytes:
        return self.contents.read(size)


class TarContents:
    """The bytes of one member."""

    def __init__(self, name: str, size: int, forward: _Forward) -> None:
        self._name = name
        self._left = size
        self._forward: _Forward | None = forward

    def read(self, size: int, /) -> bytes:
        if self._forward is None:
            raise RuntimeError("the contents of a member are gone once the next one is asked for")
        if not self._left:
            return b""
        data = self._forward.data(min(size, self._left))
        if not data:
            raise ReportError("it ends too early; the upload is cut short", member=self._name)
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._forward = None


def tar_members(reader: Reader, limits: Limits) -> Iterator[TarMember]:
    forward = _Forward(reader)
    # tarfile asks for no more of a file than `_Forward` has.
    tar = tarfile.TarFile(
        fileobj=forward,  # type: ignore[arg-type]
        tarinfo=_Info,
        encoding="utf-8",
        errors="replace",
    )
    count = 0
    while (info := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
        forward.headers = 0
        count += 1
        if count > limits.members:
            raise ReportError(f"it has more than {limits.members:,} members", limit="members")
        if len(tar.pax_headers) > GLOBAL_ATTRIBUTES:
            raise ReportError(f"it has more than {GLOBAL_ATTRIBUTES:,} attributes that hold for all members")
        if sum(len(key) + len(value) for key, value in tar.pax_headers.items()) > GLOBAL_SIZE:
            raise ReportError(f"its attributes that hold for all members are longer than {GLOBAL_SIZE:,} characters")
        parts = safe_parts(info.name, limits)
        if not (info.isdir() or info.isreg()) or info.issparse():
            raise ReportError(f"it is {_kind(info)}, which is refused", member=info.name)
        if info.size < 0:
            raise ReportError("its size is negative", member=info.name)
        if info.size > limits.member_size:
            raise ReportError(f"it is larger than {limits.member_size:,} bytes", limit="member_size", member=info.name)
        contents = TarContents(info.name, 0 if info.isdir() else info.size, forward)
        yield TarMember(info.name, parts, info.isdir(), info.size, contents)
        contents.close()
    while forward.data(PIECE):
        pass  # a gzip has its checksum at its very end


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link"
    if info.isdev():
        return "a device or pipe"
    return "a sparse file" if info.issparse() else f"of the unknown kind {info.type!r}"
