"""What an upload is, told by its contents."""

from __future__ import annotations

import enum
import tarfile

from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.xmltext import encoding_of

HEAD = 4096  # bytes that the kind is told by


class Kind(enum.Enum):
    XML = "XML"
    GZIP = "gzip"
    TAR = "tar"
    ZIP = "zip"


_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
GZIP = b"\x1f\x8b"

# Kinds that are known and not read, to be named in the sentence.
_OTHERS = (
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file"),
    (b"Rar!", "a RAR file"),
    (b"%PDF", "a PDF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\x7fELF", "a program"),
)


def is_xml(head: bytes) -> bool:
    try:
        encoding, mark = encoding_of(head)
    except ReportError:
        return True  # it declares an encoding, so it is XML
    return head[mark:].decode(encoding, "replace").lstrip(" \t\r\n\ufeff").startswith("<")


def kind_of(head: bytes) -> Kind | None:
    if head.startswith(GZIP):
        return Kind.GZIP
    if head.startswith(_ZIP):
        return Kind.ZIP
    if is_xml(head):
        return Kind.XML
    if len(head) >= tarfile.BLOCKSIZE and _is_tar(head[: tarfile.BLOCKSIZE]):
        return Kind.TAR
    return None


def _is_tar(block: bytes) -> bool:
    if not block.strip(b"\0"):
        return False
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def describe(head: bytes) -> str:
    """What `head` is the beginning of, if it is none of the kinds."""
    for start, name in _OTHERS:
        if head.startswith(start):
            return name
    if not head.strip():
        return "white space"
    if not head.strip(b"\0"):
        return "a row of zero bytes"
    if head.lstrip()[:1] in {b"{", b"["}:
        return "JSON"
    try:
        head[:200].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < 190:
            return "binary data"
    return "text that does not begin with <"
