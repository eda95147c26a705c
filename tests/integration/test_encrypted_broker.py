"""A `rediss://` URL is TLS whose certificate is checked, for the broker and for the result backend."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ibutsu_core.settings import DatabaseSettings

EnvironmentOf = Callable[[DatabaseSettings, str], dict[str, str]]

PROGRAM = """
import ibutsu_server
app = ibutsu_server.flower_app
with app.connection_for_write() as connection:
    {broker}
    {results}
"""
BROKER = "connection.ensure_connection(max_retries=1, timeout=5); connection.default_channel.client.ping()"
RESULTS = "app.backend.client.ping()"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that only those trust who have its file, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("There is no openssl to make a certificate with.")
    path = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", path.with_suffix(".key"), "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
def encrypted(redis_server: str, certificate: Path) -> Iterator[str]:
    """The URL of a TLS end before the Redis of the tests."""
    url = urlsplit(redis_server)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    started = threading.Event()
    found: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(url.hostname, url.port)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer), return_exceptions=True)

    async def serve() -> None:
        ended = asyncio.Event()
        async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as server:
            found.append((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), ended))
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    port, loop, ended = found[0]
    yield redis_server.replace("redis://", "rediss://").replace(f":{url.port}", f":{port}")
    loop.call_soon_threadsafe(ended.set)
    thread.join()


def test_only_a_certificate_that_is_trusted_is_accepted(
    encrypted: str, certificate: Path, environment_of: EnvironmentOf, postgres_server: DatabaseSettings
) -> None:
    environment = environment_of(postgres_server, encrypted)

    def connects(broker: str, results: str, **variables: str) -> subprocess.CompletedProcess[str]:
        program = PROGRAM.format(broker=broker, results=results)
        return subprocess.run(
            [sys.executable, "-c", program], env=environment | variables, capture_output=True, text=True
        )

    trusting = connects(BROKER, RESULTS, SSL_CERT_FILE=str(certificate))
    assert trusting.returncode == 0, trusting.stderr
    for broker, results in ((BROKER, "pass"), ("pass", RESULTS)):
        refusing = connects(broker, results)
        assert refusing.returncode == 1
        assert "CERTIFICATE_VERIFY_FAILED" in refusing.stderr
