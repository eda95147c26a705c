"""How near an import comes to its limits: bare parsing of the XML, and bare COPY of the same rows.

    python benchmarks/import_speed.py [TESTS] [ROUNDS]

An import is measured from the sending of its message to its result, by a real worker: it reads the upload from
PostgreSQL, stores results and artifacts with all indexes and constraints, computes the summary and commits. Each figure
is the best of the rounds, which take turns, so that noise of the machine falls on all alike. "Pipeline" is the parsing
and the COPY at the same time, each on a core of its own.
"""

from __future__ import annotations

import io
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

import common
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store.copy_rows import ARTIFACT_COLUMNS, CHUNK_COLUMNS, RESULT_COLUMNS

TABLES = {"results": RESULT_COLUMNS, "artifacts": ARTIFACT_COLUMNS, "artifact_chunks": CHUNK_COLUMNS}


def parse(path: Path) -> None:
    """Parse the report with expat and nothing else: handlers that do nothing, in the pieces that we read."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = lambda _name, _attributes: None
    parser.EndElementHandler = lambda _name: None
    parser.CharacterDataHandler = lambda _text: None
    with path.open("rb") as file:
        while data := file.read(64 * 1024):
            parser.Parse(data)
    parser.Parse(b"", True)


def rows_of(session: Session, format: str) -> dict[str, bytes]:  # noqa: A002
    """Give what the tables hold, in COPY's format."""
    cursor: Any = session.connection().connection.cursor()
    rows = {}
    for table, columns in TABLES.items():
        file = io.BytesIO()
        cursor.copy_expert(f"COPY (SELECT {columns} FROM {table}) TO STDOUT (FORMAT {format})", file)
        rows[table] = file.getvalue()
    session.rollback()
    return rows


def copy(session: Session, rows: dict[str, bytes], format: str) -> None:  # noqa: A002
    """Put the rows back, and commit."""
    cursor: Any = session.connection().connection.cursor()
    for table, columns in TABLES.items():
        cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT {format})", io.BytesIO(rows[table]), 1 << 18)
    session.commit()


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(servers: common.Servers, tests: int, rounds: int, *, plain: bool) -> None:
    """Measure, and print the ratios."""
    path = common.report(servers.directory / "report.xml", tests, plain=plain)
    best: dict[str, float] = {}

    def keep(name: str, value: float) -> None:
        best[name] = min(value, best.get(name, value))

    def clear(session: Session) -> None:
        session.execute(sa.text(f"TRUNCATE {', '.join(TABLES)}"))
        session.commit()

    celery = common.sender(servers)
    with common.session(servers) as session, common.worker(servers):
        common.imported(celery, [common.upload(session, common.report(servers.directory / "first.xml", 1000))])
        for _ in range(rounds):
            keep("parse", seconds(lambda: parse(path)))
            common.empty(session)
            keep("import", common.imported(celery, [common.upload(session, path)]))
            for format in ("text", "binary"):  # noqa: A001
                rows = rows_of(session, format)
                clear(session)
                keep(f"copy, {format}", seconds(lambda: copy(session, rows, format)))  # noqa: B023
            clear(session)
            other = multiprocessing.Process(target=parse, args=(path,))

            def both() -> None:
                other.start()  # noqa: B023
                copy(session, rows, "binary")  # noqa: B023
                other.join()  # noqa: B023

            keep("pipeline", seconds(both))
    print(f"\n{tests:,} tests, {'all passed' if plain else '4% with a traceback, 2% with output'}:")
    for name, value in best.items():
        rate, ratio = tests / value, value / best["import"]
        print(f"  {name:<14}{value:8.2f} s {rate:12,.0f} results/s   import at {ratio:.2f} of it")


if __name__ == "__main__":
    tests = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with common.servers() as servers:
        for plain in (False, True):
            measure(servers, tests, rounds, plain=plain)
