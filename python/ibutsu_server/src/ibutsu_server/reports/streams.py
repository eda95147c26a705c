"""The upload and what is unpacked from it, as readers of bytes that know their bounds."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.limits import Limits

PIECE = 64 * 1024  # bytes read at a time

_GZIP_WINDOW = 31  # zlib: the largest window, with a gzip header


class Reader(Protocol):
    """Something with at most `size` bytes at a time, and none at its end."""

    def read(self, size: int, /) -> bytes: ...


class Source:
    """The upload. Remembers an exception of its own, which says nothing about the report."""

    def __init__(self, upload: BinaryIO) -> None:
        self._upload = upload
        self.failure: Exception | None = None
        self.consumed = 0

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._upload.read(size)
        except Exception as error:
            self.failure = error
            raise
        self.consumed += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return self._upload.seek(offset, whence)
        except Exception as error:
            self.failure = error
            raise

    def tell(self) -> int:
        try:
            return self._upload.tell()
        except Exception as error:
            self.failure = error
            raise

    def rewind(self) -> Source:
        self.seek(0)
        self.consumed = 0
        return self


class Budget:
    """How much may be unpacked from the upload, together and in proportion to what was read of it."""

    def __init__(self, limits: Limits, packed: Callable[[], int]) -> None:
        self._limits = limits
        self._packed = packed
        self.unpacked = 0

    def spend(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self._limits.unpacked_size:
            raise ReportError(f"it unpacks to more than {self._limits.unpacked_size:,} bytes", limit="unpacked_size")
        if self.unpacked > max(self._limits.ratio_free, self._limits.ratio * self._packed()):
            raise ReportError(
                f"it unpacks to more than {self._limits.ratio} times its size, as only a bomb does", limit="ratio"
            )


class Gunzip:
    """The contents of a gzip file, of one member or several."""

    def __init__(self, packed: Reader, budget: Budget) -> None:
        self._packed = packed
        self._budget = budget
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._pending = b""
        self._started = False

    def read(self, size: int, /) -> bytes:
        """All of `size` bytes, but at the end: who reads on until he has enough must not get them one by one."""
        data = self._some(size)
        if not data or len(data) == size:
            return data
        whole = bytearray(data)
        while len(whole) < size and (data := self._some(size - len(whole))):
            whole += data
        return bytes(whole)

    def _some(self, size: int) -> bytes:
        while True:
            if self._inflate.eof:
                rest = (self._inflate.unused_data or self._packed.read(PIECE)).lstrip(b"\0")
                while not rest:
                    rest = self._packed.read(PIECE)
                    if not rest:
                        return b""
                    rest = rest.lstrip(b"\0")
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
                self._pending = rest
            if not self._pending:
                self._pending = self._packed.read(PIECE)
                if not self._pending:
                    raise ReportError("the gzip data ends too early; the upload is cut short")
            try:
                data = self._inflate.decompress(self._pending, size)
            except zlib.error as error:
                raise ReportError(f"the gzip data is broken ({error})") from error
            self._pending = self._inflate.unconsumed_tail
            if data:
                self._budget.spend(len(data))
                return data


def read_fully(reader: Reader, size: int) -> bytes:
    """`size` bytes, or fewer at the end."""
    data = reader.read(size)
    while len(data) < size:
        more = reader.read(size - len(data))
        if not more:
            break
        data += more
    return data
