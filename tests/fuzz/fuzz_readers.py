"""Fuzzing of the report readers with atheris, which wants an environment of its own; the project does not need it.

    python3.11 -m venv .fuzz && .fuzz/bin/pip install atheris uuid-utils
    export PYTHONPATH=python/ibutsu_core/src:python/ibutsu_server/src
    .fuzz/bin/python tests/fuzz/fuzz_readers.py .fuzz/corpus -max_total_time=3600

The corpus is made on the first run, from the reports of the tests. Options are libFuzzer's. What it finds is written to
`.fuzz/crash-…`; `.fuzz/bin/python tests/fuzz/fuzz_readers.py .fuzz/crash-…` runs that again. A find becomes a test of
its own in `tests/server/reports/`.

An input's first byte says what the rest is (`SHAPES`): bytes as they are, or a recipe for XML, for the members of a
tar or zip, or for the JSON of an archive, so that most inputs get past checksums and the outermost element. The second
byte chooses between the default limits and small ones.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import math
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["ibutsu_server.reports", "tarfile", "zipfile", "json"]):
    import json
    import tarfile
    import zipfile

    from ibutsu_server.reports import ArtifactRecord, Limits, ReportError, ResultRecord, RunRecord, read_report
    from ibutsu_server.reports.records import OUTCOMES

RUN_ID = uuid.UUID("11111111-2222-4333-8444-555555555555")
RUN, RESULT, OTHER = (str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))
NOW = dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
DIALECTS = Path(__file__).parents[1] / "server" / "reports" / "dialects"
LIBFUZZER_OPTIONS = ("-timeout=5", "-rss_limit_mb=512", "-malloc_limit_mb=128", "-max_len=8192", "-len_control=20")

SMALL = Limits(
    members=6,
    zip_directory=400,
    member_size=2000,
    unpacked_size=6000,
    ratio=3,
    ratio_free=3000,
    path_length=100,
    xml_depth=6,
    xml_tag=300,
    xml_text=900,
    xml_names=12,
    json_size=400,
    json_values=30,
    json_depth=4,
    metadata_size=200,
    inherited_size=400,
    results=5,
)


# --- what must hold of all that is read ---


def check(data: bytes, filename: str, limits: Limits) -> None:
    try:
        report = read_report(io.BytesIO(data), filename=filename, run_id=RUN_ID, limits=limits, now=NOW)
        assert report.format in {"junit", "archive"}
        _check_records(report, report.format, limits)
    except ReportError as error:
        sentence = str(error)
        assert sentence.isprintable(), ascii(sentence)
        assert sentence.endswith("."), sentence
        assert len(sentence) < 1200, sentence


def _check_records(report: Iterator[Any], form: str, limits: Limits) -> None:
    run_id: uuid.UUID | None = None
    ids: set[uuid.UUID] = set()
    owners: set[uuid.UUID] = set()
    results = 0
    for record in report:
        if isinstance(record, RunRecord):
            assert run_id in {None, record.id}
            run_id = record.id
            assert record.duration is None or 0 <= record.duration < math.inf
            _check_time(record.start_time)
            for value in (record.source, record.component, record.env, record.project, *record.notes):
                _check_value(value)
            _check_value(dict(record.summary))
            _check_value(dict(record.metadata))
            continue
        assert run_id is not None, "the run comes first"
        if isinstance(record, ResultRecord):
            results += 1
            assert record.id not in ids
            ids.add(record.id)
            assert record.run_id == run_id
            assert record.result in OUTCOMES
            assert isinstance(record.test_id, str)
            assert record.test_id
            assert isinstance(record.duration, float)
            assert 0 <= record.duration < math.inf
            _check_time(record.start_time)
            for value in (record.test_id, record.source, record.component, record.env):
                assert value is None or isinstance(value, str)
                _check_value(value)
            _check_value(dict(record.metadata))
            _check_value(None if record.params is None else dict(record.params))
        else:
            assert isinstance(record, ArtifactRecord)
            _check_value(record.filename)
            assert record.filename
            assert (record.run_id is None) != (record.result_id is None)
            if record.result_id is not None:
                owners.add(record.result_id)
            size = 0
            for chunk in record.chunks:
                assert isinstance(chunk, bytes)
                size += len(chunk)
            assert size <= max(limits.member_size, 4 * limits.xml_text)
    assert run_id is not None
    assert owners <= ids, "every artifact has its result"
    if form == "archive":
        assert results <= limits.results


def _check_value(value: Any) -> None:
    if isinstance(value, str):
        assert "\0" not in value
        value.encode()
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            assert isinstance(key, str)
            _check_value(key)
            _check_value(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_value(inner)
    else:
        assert value is None or isinstance(value, bool | int), type(value)
        if isinstance(value, int):
            json.dumps(value)


def _check_time(value: dt.datetime | None) -> None:
    assert value is None or (value.utcoffset() == dt.timedelta(0) and 1 <= value.year <= 9999)


# --- recipes: bytes that say what to write ---


class Recipe:
    """Bytes taken one after the other; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def more(self) -> bool:
        return self._place < len(self._data)

    def byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1] if self._place <= len(self._data) else 0

    def take(self, size: int) -> bytes:
        self._place += size
        return self._data[self._place - size : self._place]

    def short(self) -> bytes:
        return self.take(self.byte())

    def long(self) -> bytes:
        return self.take(self.byte() << 8 | self.byte())

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def one(self, of: Any) -> Any:
        return of[self.byte() % len(of)]


ELEMENTS = [
    "testsuites",
    "testsuite",
    "testcase",
    "properties",
    "property",
    "failure",
    "error",
    "skipped",
    "system-out",
    "system-err",
    "xfailure",
    "xpassed",
    "flakyFailure",
    "rerunFailure",
    "rerunError",
    "flakyError",
    "x:testcase",
    "x:testsuite",
    "q:failure",
    "oddity",
]
ATTRIBUTES = [
    "name",
    "classname",
    "time",
    "timestamp",
    "file",
    "line",
    "status",
    "type",
    "message",
    "value",
    "key",
    "tests",
    "failures",
    "errors",
    "skipped",
    "disabled",
    "hostname",
    "id",
    "x:name",
]
VALUES = (
    *("", "a", "a.b.C", "1", "0.5", "1,234.5", "-1", "nan", "inf", "1e999", "1e12", "1.5s", "1'000", "9" * 30),
    *("2026-01-02T03:04:05", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1767323045", "1767323045123"),
    *("Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 31 Dec 9999 23:59:59 -1400", "2026-W01-1", "99999999999.9", "2026-01-02Z"),
    *("pytest.xfail", "notrun", "disabled", "[[ATTACHMENT|a/b.png]]", "[[ATTACHMENT|", "&#27;", "&#0;", "&#xD800;"),
    *("&#x1F600;", "&amp;", "&lt;", "&#10;", "&#13;", "&e;", "\x1b", "\x00", "\ufffe", "\ufffd", "\ud800", "😀", "é"),
    *("\u2028", "\x85", "]]>", "]]", "<![CDATA[", "&#", "&#x", "\N{ARABIC-INDIC DIGIT FIVE}", "run", "fspath"),
)


def xml_of(recipe: Recipe) -> str:
    """XML that is well-formed but where the recipe says otherwise."""
    out: list[str] = []
    opened: list[str] = []
    if recipe.byte() % 4:
        out.append("<testsuite>")
        opened.append("testsuite")
    while recipe.more:
        match recipe.byte() % 12:
            case 0 | 1 | 2 | 3:
                name = recipe.one(ELEMENTS)
                count = recipe.byte() % 5
                names = {recipe.one(ATTRIBUTES): recipe.one(VALUES) for _ in range(count)}
                closed = recipe.byte() % 3 == 0
                attributes = "".join(f' {key}="{value}"' for key, value in names.items())
                out.append(f"<{name}{attributes}{'/' if closed else ''}>")
                if not closed:
                    opened.append(name)
            case 4 | 5:
                if opened:
                    out.append(f"</{opened.pop()}>")
            case 6:
                out.append(recipe.one(VALUES))
            case 7:
                out.append(recipe.short().decode("utf-8", "surrogateescape"))
            case 8:
                out.append(f"<![CDATA[{recipe.short().decode('latin-1')}]]>")
            case 9:
                out.append(recipe.one(VALUES) * recipe.byte())
            case 10:
                out.append(recipe.one(("<!-- c -->", "<?p i?>", "<!DOCTYPE t>", "<", ">", "&", '"', "</testcase>")))
            case _:
                name = recipe.short().decode("latin-1")
                out.append(f'<property name="{name}" value="{recipe.one(VALUES)}"/>')
    out += [f"</{name}>" for name in reversed(opened)]
    return "".join(out)


KEYS = (
    *("test_id", "result", "duration", "start_time", "source", "component", "env", "metadata", "params", "project"),
    *("project_id", "user_properties", "run", "error", "summary", "id", "\0", "\ud800", "", "é"),
)
SCALARS = (
    *("null", "true", "0", "-1", "1.5", "NaN", "Infinity", "-Infinity", "1e999", "-0.0", "9" * 400, "9" * 5000, '""'),
    *('"passed"', '"failed"', '"great"', '"a\\u0000b"', '"\\ud800"', '"\\ud83d\\ude00"', '"serialization_failed"'),
    *('"2026-01-02T03:04:05+00:00"', '"9999-12-31T23:59:59-14:00"', '"0001-01-01"', '"\x1b"', '"x', "{", "]", '"😀"'),
)


def json_of(recipe: Recipe, depth: int = 0) -> str:
    kind = recipe.byte() % 10 if depth < 8 else 9
    if kind < 3 or (depth == 0 and kind < 9):
        pairs = {recipe.one(KEYS): json_of(recipe, depth + 1) for _ in range(recipe.byte() % 8)}
        if depth == 0 and recipe.byte() % 8:
            pairs = {"test_id": '"t"', "result": '"passed"'} | pairs
        return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in pairs.items()) + "}"
    if kind < 5:
        return "[" + ", ".join(json_of(recipe, depth + 1) for _ in range(recipe.byte() % 6)) + "]"
    if kind == 5:
        return json.dumps(recipe.short().decode("utf-8", "surrogateescape"))
    if kind == 6:
        deep = recipe.byte() * 8
        return "[" * deep + "]" * deep
    return str(recipe.one(SCALARS))


PLACES = (
    *(f"{RUN}/", f"{RUN}/run.json", f"{RUN}/{RESULT}/", f"{RUN}/{RESULT}/result.json", f"{RUN}/{OTHER}/result.json"),
    *(f"{RUN}/{RESULT}/a/b.png", f"{RUN}/{OTHER}/a.log", f"./{RUN}/a.log", f"{OTHER}/a.log", "a.xml", "b/b.xml", "./"),
    *("notes.txt", "../a.xml", "/a.xml", "C:\\a", "result.json", f"{RUN}/{RESULT}/result.json/", f"{RUN}//x", "a/"),
)
TYPES = (
    *(tarfile.REGTYPE, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE),
    *(tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE),
    *(tarfile.XGLTYPE, tarfile.CONTTYPE, tarfile.AREGTYPE, b"\xff"),
)


def members_of(recipe: Recipe) -> Iterator[tuple[str, bytes]]:
    for _ in range(recipe.byte() % 12):
        name = recipe.one(PLACES) if recipe.byte() % 4 else recipe.short().decode("utf-8", "surrogateescape")
        match recipe.byte() % 5:
            case 0:
                yield name, recipe.long()
            case 1:
                yield name, xml_of(Recipe(recipe.long())).encode("utf-8", "surrogatepass")
            case 2:
                yield name, json_of(Recipe(recipe.long())).encode("utf-8", "surrogatepass")
            case 3:
                head, tail = recipe.one(
                    ((b'{"test_id":"t","result":"passed",', b"}"), (b"<testsuite>", b"</testsuite>"))
                )
                yield name, head + recipe.long() + tail
            case _:
                yield name, b'{"test_id": "t", "result": "passed", "metadata": {"user_properties": {"p": 1}}}'


def tar_of(recipe: Recipe) -> bytes:
    form = recipe.one((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as tar:
        for name, data in members_of(recipe):
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type, data = tarfile.DIRTYPE, b""  # noqa: PLW2901
            info.size = len(data)
            with contextlib.suppress(ValueError, UnicodeError):  # a name that does not fit
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_headers(recipe: Recipe) -> bytes:
    """A tar whose headers are patched, and have right checksums all the same."""
    out: list[bytes] = []
    while recipe.more and len(out) < 60:
        info = tarfile.TarInfo(recipe.one(PLACES))
        kind = recipe.one(TYPES)
        contents = recipe.one((recipe.short, recipe.long))()
        if recipe.byte() % 3 == 0:
            words = recipe.short()
            contents = b"%d %s\n" % (len(words) + 1 + len(str(len(words) + 4)), words)
        info.size = len(contents)
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])
        block[156:157] = kind
        for _ in range(recipe.byte() % 4):
            place, patch = recipe.byte() * 2, recipe.short()[:40]
            block[place : place + len(patch)] = patch
        block = block[:512]
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        out += bytes(block), contents, bytes(-len(contents) % 512)
    return b"".join(out) + bytes(1024 * (recipe.byte() % 3 != 1))


def zip_of(recipe: Recipe) -> bytes:
    buffer = io.BytesIO()
    how = recipe.byte()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if how & 1 else zipfile.ZIP_STORED) as archive:
        for name, data in members_of(recipe):
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            info.external_attr = recipe.one((0, 0, 0, 0o100644, 0o040755, 0o120777, 0o020777)) << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def patched(data: bytes, recipe: Recipe) -> bytes:
    """`data` with bytes changed near its end, where a zip has its table, or anywhere."""
    out = bytearray(data)
    for _ in range(recipe.byte() % 5):
        place, patch = recipe.byte() << 8 | recipe.byte(), recipe.short()[:8]
        if place >= 1 << 15:
            place = len(out) - place % 400
        place = max(0, min(place % (len(out) + 1), len(out)))
        out[place : place + len(patch)] = patch
    return bytes(out)


def zip_patched(recipe: Recipe) -> bytes:
    patches = Recipe(recipe.short())
    return patched(zip_of(recipe), patches)


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def gzips(recipe: Recipe) -> bytes:
    """Gzip members one after the other, whole or not, with bytes between them."""
    out: list[bytes] = []
    while recipe.more and len(out) < 200:
        pack = zlib.compressobj(1, wbits=31)
        out.append(pack.compress(recipe.short()))
        match recipe.byte() % 8:
            case 0:
                out.append(pack.flush(zlib.Z_SYNC_FLUSH))
            case 1:
                out.append(pack.flush() + bytes(recipe.byte()))
            case _:
                out.append(pack.flush())
    return b"".join(out)


ENCODINGS = (
    *(
        "utf-8",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "latin-1",
        "cp1252",
        "iso-8859-15",
        "shift_jis",
        "gb18030",
    ),
    *("utf-7", "cp037", "cp500", "koi8-r", "big5", "euc_jp", "hz", "iso2022_jp", "utf-8-sig", "ascii"),
)


def xml_encoded(recipe: Recipe) -> bytes:
    declared = recipe.one((*ENCODINGS, "unicode_escape", "rot13", "idna", "punycode", "none", "mbcs"))
    real = recipe.one(ENCODINGS)
    head = f'<?xml version="1.0" encoding="{declared}"?>' if recipe.byte() % 4 else ""
    text = recipe.one(("", "", "\n", "\ufeff")) + head + xml_of(recipe)
    return text.encode(real, "replace")


def archive_fields(recipe: Recipe) -> bytes:
    """An archive of one result, with bytes as they are inside of its JSON."""
    start = recipe.one((b'"metadata":', b'"start_time":', b'"duration":', b'"params":', b'"x":', b'"env":', b""))
    result = b'{"test_id":"t","result":"passed",' + start + recipe.rest() + b"}"
    return tar_plain([(f"{RUN}/{RESULT}/result.json", result)])


def tar_plain(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def archive_json(recipe: Recipe) -> bytes:
    run, result = Recipe(recipe.short()), recipe
    members = [(f"{RUN}/{RESULT}/result.json", json_of(result).encode("utf-8", "surrogatepass"))]
    members.insert(recipe.byte() % 2, (f"{RUN}/run.json", json_of(run).encode("utf-8", "surrogatepass")))
    return tar_plain(members)


def xml_bytes(recipe: Recipe) -> bytes:
    return xml_of(recipe).encode("utf-8", "surrogateescape" if recipe.byte() else "replace")


def as_utf8(make: Callable[[Recipe], bytes]) -> Callable[[Recipe], bytes]:
    def made(recipe: Recipe) -> bytes:
        try:
            return make(recipe)
        except UnicodeError:
            return b""

    return made


SHAPES: tuple[Callable[[Recipe], bytes], ...] = (
    Recipe.rest,
    lambda recipe: b"<testsuite>" + recipe.rest(),
    lambda recipe: packed(recipe.rest()),
    as_utf8(xml_bytes),
    as_utf8(xml_encoded),
    lambda recipe: patched(packed(as_utf8(xml_bytes)(recipe)), recipe),
    tar_of,
    lambda recipe: packed(tar_of(recipe)),
    tar_headers,
    zip_of,
    zip_patched,
    archive_fields,
    archive_json,
    gzips,
)
NAMES = ("a.xml", "report.tar.gz", f"{OTHER}.xml", "\ud800\0\n.xml", "", "x" * 300, "\u202e.xml")


def one_input(data: bytes) -> None:
    recipe = Recipe(data)
    make = recipe.one(SHAPES)
    choice = recipe.byte()
    limits = SMALL if choice & 1 else Limits()
    check(make(recipe), NAMES[(choice >> 1) % len(NAMES)], limits)


# --- where to begin ---


def seeds() -> Iterator[bytes]:
    def member(place: int, kind: int, contents: bytes = b"") -> bytes:
        size = len(contents).to_bytes(2, "big") if kind < 4 else b""
        return bytes((1, place, kind)) + (b"\0" if kind == 3 else b"") + size + contents

    cases = bytes((1, 2, 2, 0, 0, 1, 1, 1, 5, 1, 6, 1, 4, 4))
    archive = bytes((0, 4)) + member(1, 2, b"\0\0") + member(3, 4) + member(5, 0, b"png") + member(4, 4)
    bundle = bytes((0, 3)) + member(9, 1, cases) + member(12, 0, b"text") + member(10, 1, cases)
    for limits in (0, 1):
        for path in sorted(DIALECTS.glob("*.xml")):
            xml = path.read_bytes()
            yield bytes((0, limits)) + xml
            yield bytes((2, limits)) + xml
            yield bytes((0, limits)) + xml.decode("utf-8", "replace").encode("utf-16")
            yield bytes((1, limits)) + xml.partition(b"<testcase")[2]
        for shape in (3, 4, 5, 13):
            yield bytes((shape, limits)) + cases * 5
        for shape in (6, 7):
            yield bytes((shape, limits)) + archive
            yield bytes((shape, limits)) + bundle
        for patches in (b"", b"\1\x80\x20\1x"):
            yield bytes((9, limits)) + bundle
            yield bytes((10, limits, len(patches))) + patches + bundle
        for kind in range(len(TYPES)):
            yield bytes((8, limits, 1, 0, 0, 2)) + b"{}\1\0" + bytes((3, kind, 0, 20)) + b"path=a.xml size=1000\1\0"
            yield bytes((8, limits, 9, kind, 0, 14)) + b"path=a.xml\n" + b"\0\0\0\1\0"
        for field in range(6):
            yield bytes((11, limits, field)) + b'{"user_properties":{"a":[1,"x",null]},"env":"e","project":"p"}'
            yield bytes((11, limits, field)) + b'"2026-01-02T03:04:05.123456+02:00"'
            yield bytes((12, limits, 6)) + bytes(range(6)) + bytes((field,)) * 3 + bytes(range(60))


WORDS = (
    *(
        b"<testsuite",
        b"<testsuites>",
        b"<testcase ",
        b"</testcase>",
        b"<failure",
        b"<error>",
        b"<skipped/>",
        b"<property",
    ),
    *(
        b"<system-out>",
        b"<![CDATA[",
        b"]]>",
        b"<!DOCTYPE ",
        b"<!ENTITY ",
        b"<!--",
        b"-->",
        b"<?xml ",
        b"encoding=",
        b"&#",
    ),
    *(
        b"&#27;",
        b"name=",
        b"classname=",
        b"timestamp=",
        b"message=",
        b"type=",
        b"value=",
        b"tests=",
        b"ustar\0" + b"00",
    ),
    *(
        b"path=",
        b"size=",
        b"GNU.sparse.",
        b"PK\1\2",
        b"PK\3\4",
        b"PK\5\6",
        b"PK\6\6",
        b"PK\6\7",
        b"\x1f\x8b\x08",
        b"\\u0000",
    ),
    *(b"\\ud800", b"NaN", b"1e999", b'"metadata":', b'"user_properties":', b"xmlns:x=", b"utf-16", b"[[ATTACHMENT|"),
)


def main() -> None:
    options = list(LIBFUZZER_OPTIONS)
    corpus = Path(sys.argv[1]) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None
    if corpus is not None and not corpus.is_file():
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        words = corpus.with_suffix(".words")
        lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
        words.write_text("".join(f'"{line}"\n' for line in lines), "ascii")
        options += [f"-dict={words}", f"-artifact_prefix={corpus.parent}/"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
