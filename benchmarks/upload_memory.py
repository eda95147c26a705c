"""The memory of the API while it takes an upload of 1 GB and gives an artifact of that size, and how fast it is.

    python benchmarks/upload_memory.py [MEGABYTES]

The API is gunicorn by the container's command, with one worker process; memory is the largest resident set that the
kernel saw of it. The bytes go between this process and the API in pieces, over loopback. Then the chunks of an upload
are stored by COPY and, beside it, by statements, in turns and by one process each time.
"""

from __future__ import annotations

import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import common
import httpx
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import artifacts, chunks
from ibutsu_server.store.local import LOCAL_PROJECT, ensure_local_access
from ibutsu_server.store.models import Import, Run, UploadChunk

MEGABYTE = 1_000_000


def peak(pid: int) -> float:
    """The process's largest resident set so far, in megabytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / MEGABYTE


HEAD = (f'--x\r\nContent-Disposition: form-data; name="project"\r\n\r\n{LOCAL_PROJECT}\r\n'
        '--x\r\nContent-Disposition: form-data; name="importFile"; filename="r.xml"\r\n\r\n').encode()  # fmt: skip
TAIL = b"\r\n--x--\r\n"


def body(megabytes: int) -> Iterator[bytes]:
    """Write a form with a file of that size, which no compression makes small."""
    yield HEAD
    for _ in range(megabytes):
        yield secrets.token_bytes(MEGABYTE)
    yield TAIL


def artifact(session: Session, megabytes: int) -> uuid.UUID:
    """Store an artifact of that size, as an import does."""
    run = Run(id=uuid.uuid4(), summary={})
    session.add(run)
    session.flush()
    pieces = (secrets.token_bytes(MEGABYTE) for _ in range(megabytes))
    stored = artifacts.write(session, pieces, filename="core.bin", run_id=run.id)
    session.commit()
    return stored.id


def by_copy(session: Session, import_id: uuid.UUID, position: int, data: bytes) -> None:
    """Store a chunk as `UploadWriter` does."""
    chunks.store(session, chunks.Chunks.UPLOAD, import_id, position, data)


def by_statement(session: Session, import_id: uuid.UUID, position: int, data: bytes) -> None:
    """Store a chunk as a parameter of a statement."""
    session.execute(sa.insert(UploadChunk).values(import_id=import_id, position=position, data=data))


def stored(session: Session, store: Callable[[Session, uuid.UUID, int, bytes], None], number: int) -> tuple[float, ...]:
    """Store that many chunks; gives megabytes a second, and milliseconds of this process's time for one."""
    row = Import(id=uuid.uuid4(), filename="r.xml", format="junit", size=0, sha256="", data={})
    session.add(row)
    session.flush()
    data = secrets.token_bytes(chunks.SIZE)
    start, spent = time.perf_counter(), time.process_time()
    for position in range(number):
        store(session, row.id, position, data)
    spent = time.process_time() - spent
    session.commit()
    megabytes = number * chunks.SIZE / MEGABYTE
    common.empty(session)
    return megabytes / (time.perf_counter() - start), 1000 * spent / megabytes


if __name__ == "__main__":
    large = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with common.servers() as servers, socket.socket() as probe:
        access = ensure_local_access(servers.database, email="admin@example.com", password="secret")
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        command = [sys.executable, "-m", "gunicorn", "--bind", address, "--worker-class", "gthread", "--threads", "4",
                   "--timeout", "600", "ibutsu_server:backend_app"]  # fmt: skip
        log = servers.directory / "api.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=servers.environment, stdout=output, stderr=output)
        try:
            while not (found := re.search(r"Booting worker with pid: (\d+)", log.read_text())):
                time.sleep(0.1)
            headers = {"Authorization": f"Bearer {access.token}", "Content-Type": "multipart/form-data; boundary=x"}
            for megabytes in (1, 10, large):
                start = time.perf_counter()
                # As the clients do: without the length the body comes in chunks, which gunicorn takes more slowly.
                length = {"Content-Length": str(len(HEAD) + megabytes * MEGABYTE + len(TAIL))}
                answer = httpx.post(
                    f"http://{address}/api/import", headers=headers | length, content=body(megabytes), timeout=1200
                )
                assert answer.json()["size"] == megabytes * MEGABYTE, answer.text
                spent = time.perf_counter() - start
                megabytes_held = peak(int(found[1]))
                print(f"after an upload of {megabytes:>5,} MB in {spent:6.1f} s, {megabytes / spent:.0f} MB/s: "
                      f"{megabytes_held:.1f} MB", flush=True)  # fmt: skip
            with common.session(servers) as session:
                artifact_id = artifact(session, large)
            start, size = time.perf_counter(), 0
            with httpx.stream(
                "GET", f"http://{address}/api/artifact/{artifact_id}/download", headers=headers, timeout=1200
            ) as response:
                for piece in response.iter_raw():
                    size += len(piece)
            assert size == large * MEGABYTE
            spent = time.perf_counter() - start
            print(f"after a download of {large:>5,} MB in {spent:6.1f} s, {large / spent:.0f} MB/s: "
                  f"{peak(int(found[1])):.1f} MB", flush=True)  # fmt: skip
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        with common.session(servers) as session:
            common.empty(session)
            pairs = [[stored(session, store, large // 5) for store in (by_copy, by_statement)] for _ in range(5)]
        (copy_speed, copy_spent), (speed, spent) = (
            (max(one[0] for one in rounds), min(one[1] for one in rounds)) for rounds in zip(*pairs, strict=True)
        )
        print(f"by COPY {copy_speed:.0f} MB/s and {copy_spent:.1f} ms of the process's time a MB, "
              f"by statements {speed:.0f} MB/s and {spent:.1f} ms: {copy_speed / speed:.1f} times as fast, "
              f"{copy_spent / spent:.2f} of the time")  # fmt: skip
