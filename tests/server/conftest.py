"""The API as it runs in its container."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ibutsu_server.embedded import commands

LISTENS = re.compile(r"Listening at: http://(\S+) .*Booting worker with pid: (\d+)", re.DOTALL)


@pytest.fixture
def gunicorn(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The API as it runs in its container; its address, and the id of the process that answers."""
    command = commands.here(commands.backend("127.0.0.1:0"))
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            while not (
                found := re.search(r"Listening at: http://(\S+) .*worker with pid: (\d+)", log.read_text(), re.S)
            ):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            httpx.get(f"http://{found[1]}/api/health", timeout=60)
            yield found[1], int(found[2])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
