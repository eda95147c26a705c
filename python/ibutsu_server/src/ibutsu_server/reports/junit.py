"""JUnit XML, as a stream of records. Nothing is held but the open suites and one test case."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from xml.parsers import expat

from ibutsu_server.reports.errors import ReportError, shown
from ibutsu_server.reports.junit_events import Events, NotJunitError
from ibutsu_server.reports.junit_run import JunitRun
from ibutsu_server.reports.limits import KIB, MIB, Limits
from ibutsu_server.reports.records import Record
from ibutsu_server.reports.streams import PIECE, Reader
from ibutsu_server.reports.xmltext import XmlText, cut_token, has_forbidden_reference, without_forbidden_references

# A tag that is longer than what is read at a time is looked at again with each piece, so the pieces grow, up to this.
LARGEST_PIECE = 512 * KIB

# How much of a file, and how many records, come before the first leave, so that properties at its end reach them all.
HELD = MIB
HELD_RECORDS = 10_000

_CUT_SHORT = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
}


def read_junit(
    files: Iterable[tuple[str | None, Reader | None]],
    *,
    run_id: uuid.UUID,
    results: uuid.UUID,
    limits: Limits,
    now: dt.datetime,
) -> Iterator[Record]:
    """The records of one run, which is in one or several files, each with its name where there are several.

    The ids of the results are derived from `results` and their places.

    Among several, those that are not XML (without a reader), or another kind of XML, are left out with a note.
    """
    run = JunitRun(run_id, results, limits, now)
    for member, reader in files:
        read = reader is not None
        try:
            for batch in _batches(run, reader) if reader is not None else ():
                if not run.announced:
                    yield run.record()
                yield from batch
        except NotJunitError:
            if member is None:
                raise
            read = False
        except ReportError as error:
            error.member = error.member or member
            raise
        if not read and member is not None:
            run.left_out(member)
    if not run.announced:
        raise ReportError("none of its files is JUnit XML")
    yield run.record()


def _batches(run: JunitRun, reader: Reader) -> Iterator[list[Record]]:
    """What each piece of a file's text brings."""
    parser = expat.ParserCreate("utf-8")
    events = Events(run, parser)
    text = XmlText(reader)
    rest = ""
    fed = 0
    try:
        for piece in text:
            whole = rest + piece if rest else piece
            cut = cut_token(whole)
            whole, rest = (whole, "") if cut == len(whole) else (whole[:cut], whole[cut:])
            if "&#" in whole and has_forbidden_reference(whole):
                whole, count = without_forbidden_references(whole, in_cdata=events.in_cdata)
                text.replaced += count
            data = whole.encode()
            parser.Parse(data)
            fed += len(data)
            unfinished = fed - parser.CurrentByteIndex
            events.check(unfinished, data)
            text.piece = min(max(PIECE, unfinished), LARGEST_PIECE)
            if events.out and (fed > HELD or len(events.out) > HELD_RECORDS or events.properties_lead):
                yield events.taken()
        parser.Parse(rest.encode(), True)
    except expat.ExpatError as error:
        raise ReportError(_reason(error), line=error.lineno + text.skipped_lines) from error
    except ReportError as error:
        if error.line is not None:
            error.line += text.skipped_lines
        raise
    finally:
        events.release()
    events.check()
    run.file_done(events.root, text.replaced)
    yield events.taken()


def _reason(error: expat.ExpatError) -> str:
    if error.code in _CUT_SHORT:
        return "the XML ends before it is complete; the file is empty or cut short"
    return f"the XML is broken: {shown(expat.ErrorString(error.code), 100)} (column {error.offset + 1})"
