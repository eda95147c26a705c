"""The memory of the API while it takes an upload of 1 GB.

    python benchmarks/upload_memory.py [MEGABYTES]

The API is gunicorn by the container's command, with one worker process; memory is the largest resident set that the
kernel saw of it. The upload comes from this process in pieces, over loopback.
"""

from __future__ import annotations

import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import common
import httpx

from ibutsu_server.store.local import LOCAL_PROJECT, ensure_local_access

MEGABYTE = 1_000_000


def peak(pid: int) -> float:
    """The process's largest resident set so far, in megabytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / MEGABYTE


def body(megabytes: int) -> Iterator[bytes]:
    """Write a form with a file of that size, which no compression makes small."""
    yield f'--x\r\nContent-Disposition: form-data; name="project"\r\n\r\n{LOCAL_PROJECT}\r\n'.encode()
    yield b'--x\r\nContent-Disposition: form-data; name="importFile"; filename="r.xml"\r\n\r\n'
    for _ in range(megabytes):
        yield secrets.token_bytes(MEGABYTE)
    yield b"\r\n--x--\r\n"


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
                answer = httpx.post(
                    f"http://{address}/api/import", headers=headers, content=body(megabytes), timeout=1200
                )
                assert answer.json()["size"] == megabytes * MEGABYTE, answer.text
                spent = time.perf_counter() - start
                megabytes_held = peak(int(found[1]))
                print(f"after an upload of {megabytes:>5,} MB in {spent:6.1f} s: {megabytes_held:.1f} MB", flush=True)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
