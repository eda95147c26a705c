"""Many uploads at the same instant, of mixed kinds and sizes, against the whole system."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import socket
import tarfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg2
import pytest

UPLOADS = 50
SMALLEST, LARGEST = 1_000, 4_000_000
"""Bytes of a report before it is packed."""

GROWTH_LIMIT = 64 * 1024 * 1024
"""Bytes by which the API's process may grow: less than what arrives at the same time."""

LINES = "line of a traceback\n" * 100

Tests = Counter[tuple[str, str]]
"""The ids of tests and their outcomes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to send, and what becomes of it: its tests, or a failed import where there are none."""

    name: str
    data: bytes
    tests: Tests | None
    is_cut_off: bool = False


def junit(number: int) -> Upload:
    size = round(SMALLEST * (LARGEST / SMALLEST) ** (number * 7 % UPLOADS / UPLOADS))
    tests: Tests = Counter()
    parts = [f"<testsuite name='suite {number}'>"]
    length = 0
    while length < size:
        name = f"test_{number}_{len(tests)}"
        fails = len(tests) % 5 == 4
        body = f"<failure>{number:08} {LINES}</failure>" if fails else "<system-out>x</system-out>"
        parts.append(f"<testcase classname='m' name='{name}' time='0.1'>{body}</testcase>")
        length += len(parts[-1])
        tests[f"m.{name}", "failed" if fails else "passed"] += 1
    parts.append("</testsuite>")
    return Upload(name=f"{number}.xml", data="".join(parts).encode(), tests=tests)


def packed(number: int) -> Upload:
    report = junit(number)
    return Upload(name=f"{report.name}.gz", data=gzip.compress(report.data, 1), tests=report.tests)


def archive(number: int) -> Upload:
    run_id = str(uuid.uuid4())
    tests: Tests = Counter()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:

        def add(name: str, content: bytes) -> None:
            info = tarfile.TarInfo(f"{run_id}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

        add("run.json", json.dumps({"id": run_id, "metadata": {}}).encode())
        for n in range(number):
            result_id, test_id = str(uuid.uuid4()), f"test_{number}_{n}"
            result = {"id": result_id, "test_id": test_id, "result": "passed", "metadata": {}}
            add(f"{result_id}/result.json", json.dumps(result).encode())
            add(f"{result_id}/shot.png", bytes([n % 256]) * 20_000)
            tests[test_id, "passed"] += 1
    return Upload(name=f"{run_id}.tar.gz", data=file.getvalue(), tests=tests)


def broken(number: int) -> Upload:
    whole = (junit if number % 20 < 10 else packed)(number)
    return Upload(name=whole.name, data=whole.data[: len(whole.data) // 2], tests=None)


def cut_off(number: int) -> Upload:
    return dataclasses.replace(junit(number), is_cut_off=True)


def mixed(count: int) -> list[Upload]:
    kinds = (junit, junit, junit, None, packed, packed, archive, archive, broken, cut_off)
    uploads: list[Upload] = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        uploads.append(kind(number) if kind else uploads[-1])
    return uploads


def send(member: Any, upload: Upload, start: threading.Barrier) -> httpx.Response | None:
    """Upload the file when all are ready; None where the connection is cut off half way."""
    files = {"importFile": (upload.name, upload.data)}
    request = member.api.build_request("POST", "/import", files=files, data={"project": member.project})
    start.wait()
    if not upload.is_cut_off:
        answer: httpx.Response = member.api.send(request)
        return answer
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    address = urlsplit(member.url)
    with contextlib.closing(socket.create_connection((address.hostname or "", address.port or 0))) as connection:
        connection.sendall(f"POST /api/import HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) // 2])
    return None


@pytest.fixture
def members(system: Any) -> Iterator[list[Any]]:
    with system.member() as one, system.member() as other:
        yield [one, other]


def api_process(system: Any) -> psutil.Process:
    """Return the process that answers requests."""
    (leader,) = [child for child in psutil.Process(system.process.pid).children() if "gunicorn" in str(child.cmdline())]
    (worker,) = leader.children()
    return worker


@contextlib.contextmanager
def query(system: Any) -> Iterator[Any]:
    """A function that asks the system's database."""
    database = {("dbname" if name == "database" else name): value for name, value in system.local["database"].items()}
    connection = psycopg2.connect(**{name: database[name] for name in ("host", "port", "user", "password", "dbname")})
    connection.autocommit = True

    def ask(statement: str, *values: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    try:
        yield ask
    finally:
        connection.close()


@pytest.mark.slow
def test_uploads_at_the_same_instant_are_there_row_for_row_once(system: Any, members: list[Any]) -> None:
    uploads = mixed(UPLOADS)
    process = api_process(system)
    before = process.memory_info().rss
    start = threading.Barrier(len(uploads))
    with ThreadPoolExecutor(len(uploads)) as pool:
        # Two that are equal go to one project.
        asked = [pool.submit(send, members[n // 2 % 2], upload, start) for n, upload in enumerate(uploads)]
        began = time.monotonic()
        answers = [future.result() for future in asked]
    stored = time.monotonic() - began
    grown = process.memory_info().rss - before
    statuses = Counter(answer.status_code if answer is not None else None for answer in answers)
    assert statuses == Counter(None if upload.is_cut_off else 201 for upload in uploads)
    assert grown < GROWTH_LIMIT

    imports: dict[str, Any] = {}
    expected: dict[str, Tests] = {}
    for n, (upload, answer) in enumerate(zip(uploads, answers, strict=True)):
        if answer is None:
            continue
        row = members[n // 2 % 2].imported(answer.json()["id"])
        imports[row["id"]] = row
        if upload.tests is None:
            assert row["status"] == "error"
            assert upload.name in row["metadata"]["message"]
        else:
            assert row["status"] == "done", row
            expected[row["run_id"]] = upload.tests
    size = sum(len(upload.data) for upload in uploads) / 1e6
    print(
        f"{len(uploads)} uploads, {size:.1f} MB: stored in {stored:.2f} s, imported in {time.monotonic() - began:.2f} s"
    )
    print(f"the API grew by {grown / 1e6:.1f} MB")

    distinct = {upload.name for upload in uploads if not upload.is_cut_off}
    assert len(imports) == len(distinct)
    projects = tuple(member.project_id for member in members)
    with query(system) as ask:
        found: dict[str, Tests] = {}
        for run_id, test_id, outcome in ask(
            "SELECT run_id::text, test_id, result FROM results WHERE project_id::text IN %s", projects
        ):
            found.setdefault(run_id, Counter())[test_id, outcome] += 1
        assert found == expected
        assert {run_id for (run_id,) in ask("SELECT id::text FROM runs WHERE project_id::text IN %s", projects)} == set(
            expected
        )
        # The API has noticed that connections were cut off when no transaction is open any more.
        while ask(
            "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        ):
            time.sleep(0.05)
        listed = ask("SELECT id::text FROM imports WHERE project_id::text IN %s", projects)
        assert {row for (row,) in listed} == set(imports)
        # The bytes of what failed stay, to be tried again.
        kept = ask(
            "SELECT DISTINCT imports.id::text FROM upload_chunks JOIN imports ON imports.id = import_id "
            "WHERE project_id::text IN %s",
            projects,
        )
        assert {row for (row,) in kept} == {row["id"] for row in imports.values() if row["status"] == "error"}
