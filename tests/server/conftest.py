"""The API as it runs in its container."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture
def gunicorn(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The API as it runs in its container; its address, and the id of the process that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread",
               "--threads", "4", "ibutsu_server:backend_app"]  # fmt: skip
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            for _ in range(200):
                try:
                    httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5)
                    break
                except httpx.TransportError:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.1)
            found = re.search(r"Booting worker with pid: (\d+)", log.read_text())
            assert found is not None, log.read_text()
            yield f"127.0.0.1:{port}", int(found.group(1))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
