"""XML as text: the encoding settled, and the characters replaced that XML 1.0 forbids but tools write."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.streams import PIECE, Reader, read_fully

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")

HEAD = 1024  # bytes that the encoding is found in

REPLACEMENT = "\ufffd"
_REPLACEMENT_UTF8 = REPLACEMENT.encode()
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]{1,16})|([0-9]{1,20}));")
_REFERENCE_OR_CDATA = re.compile(r"&#(?:x([0-9a-fA-F]{1,16})|([0-9]{1,20}));|<!\[CDATA\[|\]\]>")
_CUT_TOKEN = re.compile(r"(?:&(?:#[0-9a-fA-FxX]{0,20})?|<(?:!(?:\[[CDATA]{0,5})?)?|\]\]?)\Z")
_LONGEST_TOKEN = 24  # characters of what _CUT_TOKEN matches


def encoding_of(head: bytes) -> tuple[str, int]:
    """The codec that `head` is written in, and how many bytes of byte order mark it begins with."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    for start, name in _UNMARKED:
        if head.lstrip(b" \t\r\n").startswith(start):
            return name, 0
    declared = _DECLARED.match(head)
    if declared is None:
        return "utf-8", 0
    name = declared.group(1).decode("ascii")
    try:
        codec = codecs.lookup(name).name
        if b"<?xml".decode(codec) != "<?xml" or "escape" in codec:
            # A declaration that can be read as ASCII is not in UTF-16, whatever it says.
            return "utf-8", 0
    except (LookupError, UnicodeError):
        if name.lower().startswith(("utf", "ucs", "iso-10646")):
            return "utf-8", 0
        raise ReportError(f"it declares the encoding {name}, which is not known", line=1) from None
    return ("utf-8" if codec == "ascii" else codec), 0


class XmlText:
    """The text of an XML file, in pieces. `replaced` tells how many characters were."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.replaced = 0
        self.skipped_lines = 0
        self.piece = PIECE

    def __iter__(self) -> Iterator[str]:
        data = read_fully(self._reader, HEAD)
        encoding, mark = encoding_of(data)
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        utf8 = encoding == "utf-8"
        data = data[mark:]
        at_start = True
        while data:
            text = decoder.decode(data)
            if not utf8 or len(data) != len(data.translate(None, _CONTROLS)) or not text.isascii():
                text = self._clean(text)
                self.replaced += max(0, text.count(REPLACEMENT) - data.count(_REPLACEMENT_UTF8))
            if at_start and text:
                # Nothing may stand before `<?xml`, but some tools begin with an empty line.
                begun = text.lstrip(" \t\r\n\ufeff")
                self.skipped_lines += text.count("\n", 0, len(text) - len(begun))
                text = begun
                at_start = not text
            if text:
                yield text
            data = self._reader.read(self.piece)
        text = decoder.decode(b"", final=True)
        if text:
            yield self._clean(text)

    def _clean(self, text: str) -> str:
        return _FORBIDDEN.sub(REPLACEMENT, text) if _FORBIDDEN.search(text) else text


def cut_token(text: str) -> int:
    """Where a character reference or CDATA mark begins that is not whole at the end of `text`; else its length."""
    found = _CUT_TOKEN.search(text, max(0, len(text) - _LONGEST_TOKEN))
    return found.start() if found else len(text)


def has_forbidden_reference(text: str) -> bool:
    return any(_is_forbidden(found) for found in _REFERENCE.finditer(text))


def without_forbidden_references(text: str, *, in_cdata: bool) -> tuple[str, int]:
    """`text` with `&#27;` and the like replaced, but for those in CDATA, where they are no references; and a count."""
    parts: list[str] = []
    done = count = 0
    for found in _REFERENCE_OR_CDATA.finditer(text):
        mark = found.group()
        if mark == "]]>":
            in_cdata = False
        elif mark[0] == "<":
            in_cdata = True
        elif not in_cdata and _is_forbidden(found):
            parts += text[done : found.start()], REPLACEMENT
            done = found.end()
            count += 1
    parts.append(text[done:])
    return "".join(parts), count


def _is_forbidden(reference: re.Match[str]) -> bool:
    hexadecimal, decimal = reference.groups()
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    return not (
        0x20 <= code <= 0xD7FF or code in {0x9, 0xA, 0xD} or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
    )
