"""Reports of all kinds for imports that are disturbed, and the rows that each is to become."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import hashlib
import io
import json
import random
import tarfile
import uuid
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.records import ArtifactRecord, ResultRecord, RunRecord
from ibutsu_server.reports import read_report
from ibutsu_server.store import local
from ibutsu_server.store.chunks import SIZE as CHUNK_SIZE

OUTPUT = "a line of output, as tests print it\n" * 20
TRACEBACK = "".join(f"tests/shop/module.py:{n}: in test_total\n    cart.total({n})\n" for n in range(12))


RESULTS = "SELECT id, test_id, result, duration FROM results WHERE run_id = :run_id"

ARTIFACTS = """
    SELECT coalesce(a.result_id, a.run_id), a.filename, a.size,
        encode(sha256(string_agg(c.data, '' ORDER BY c.position)), 'hex')
    FROM artifacts a JOIN artifact_chunks c ON c.artifact_id = a.id
    WHERE a.id IN (
        SELECT id FROM artifacts WHERE run_id = :run_id
        UNION ALL SELECT b.id FROM artifacts b JOIN results r ON r.id = b.result_id WHERE r.run_id = :run_id
    ) GROUP BY a.id
"""


class Content(NamedTuple):
    """An upload. `run_id` is that of an archive; a report that names none gets its import's."""

    filename: str
    data: bytes
    run_id: uuid.UUID | None = None
    broken: bool = False


class Counts(NamedTuple):
    """How many rows a run has: its own, and those that belong to it."""

    runs: int
    results: int
    artifacts: int
    chunks: int


@dataclasses.dataclass
class Rows:
    """All that a run's rows say of the report, of artifacts as many as there are of the same."""

    results: dict[uuid.UUID, tuple[str, str, float]] = dataclasses.field(default_factory=dict)
    artifacts: collections.Counter[tuple[uuid.UUID, str, int, str]] = dataclasses.field(
        default_factory=collections.Counter
    )

    @property
    def counts(self) -> Counts:
        """How many rows that is."""
        chunks = sum(-(-size // CHUNK_SIZE) * times for (_, _, size, _), times in self.artifacts.items())
        return Counts(1, len(self.results), self.artifacts.total(), chunks)


def junit(tests: int, *, name: str = "suite") -> bytes:
    """Make a report of so many tests; of each twenty one fails with a traceback and one prints something."""
    bodies = {
        3: f'<failure message="assert 0">{TRACEBACK}</failure>',
        5: f"<system-out>{OUTPUT}</system-out>",
        7: '<skipped message="not today"/>',
    }
    cases = "".join(
        f'<testcase classname="shop.module_{n // 50}.TestCart" name="test_{n}" time="0.{n % 90:02}">'
        f"{bodies.get(n % 20, '')}</testcase>\n"
        for n in range(tests)
    )
    head = f'<testsuites><testsuite name="{name}" timestamp="2026-03-01T10:00:00+00:00">'
    return f"{head}\n{cases}</testsuite></testsuites>\n".encode()


def bundle(files: int, tests: int) -> bytes:
    """Make a zip of several reports."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(files):
            file.writestr(f"reports/{number}.xml", junit(tests, name=f"suite {number}"))
    return buffer.getvalue()


def archive(draw: random.Random, results: int, files: int) -> Content:
    """Make an archive as pytest-ibutsu does, with a file for some of its results, and one for the run."""
    run_id, *result_ids = (uuid.UUID(int=draw.getrandbits(128), version=4) for _ in range(results + 1))
    members = {
        f"{run_id}/run.json": json.dumps({"id": str(run_id), "metadata": {"project": local.LOCAL_PROJECT}}).encode(),
        f"{run_id}/run.log": b"the run's own log\n" * 100,
    }
    for number, result_id in enumerate(result_ids):
        result = {"id": str(result_id), "test_id": f"test_{number}", "result": "passed", "duration": number / 100}
        members[f"{run_id}/{result_id}/result.json"] = json.dumps(result).encode()
        if number < files:
            members[f"{run_id}/{result_id}/shot.png"] = draw.randbytes(draw.randrange(1, 2 * CHUNK_SIZE))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return Content(f"{run_id}.tar.gz", buffer.getvalue(), run_id=run_id)


def contents(draw: random.Random) -> Iterator[Content]:
    """Yield uploads without end: all kinds again and again, in another order each time."""
    reports = {tests: junit(tests) for tests in (50, 400, 1000, 2500, 4000)}
    packed, several = gzip.compress(reports[1000]), bundle(5, 250)
    while True:
        twice = archive(draw, 100, 3)
        batch = [
            *(Content(f"junit-{tests}.xml", data) for tests, data in reports.items()),
            *(Content(f"junit-{tests}.xml", reports[tests]) for tests in (2500, 4000, 4000)),
            Content("packed.xml.gz", packed),
            Content("several.zip", several),
            archive(draw, 300, 8),
            twice,
            twice,
            draw.choice(
                (
                    Content("cut.xml", reports[2500][:-100], broken=True),
                    Content("cut.xml.gz", packed[:-100], broken=True),
                    Content("cut.zip", several[:-100], broken=True),
                    Content("none.xml", b"hello, this is a log file\n", broken=True),
                )
            ),
        ]
        draw.shuffle(batch)
        yield from batch


def read(content: Content, run_id: uuid.UUID) -> tuple[uuid.UUID, Rows]:
    """Return the run's id and its rows as the readers have them, in memory."""
    rows = Rows()
    for record in read_report(io.BytesIO(content.data), filename=content.filename, run_id=run_id):
        if isinstance(record, RunRecord):
            run_id = record.id
        elif isinstance(record, ResultRecord):
            rows.results[record.id] = (record.test_id, record.result, record.duration)
        elif isinstance(record, ArtifactRecord):
            owner = record.result_id or record.run_id
            assert owner is not None
            data = b"".join(record.chunks)
            rows.artifacts[owner, record.filename, len(data), hashlib.sha256(data).hexdigest()] += 1
    return run_id, rows


def stored(session: Session, run_id: uuid.UUID) -> Rows:
    """Return a run's rows as the database has them."""
    rows = Rows()
    for result_id, *said in session.execute(sa.text(RESULTS), {"run_id": run_id}):
        rows.results[result_id] = tuple(said)
    rows.artifacts.update(tuple(row) for row in session.execute(sa.text(ARTIFACTS), {"run_id": run_id}))
    return rows
