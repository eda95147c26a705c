"""Whether each part of the system is ready: None, or why not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import psutil
from celery import Celery

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.embedded import ports, postgres, redis
from ibutsu_server.embedded.errors import EmbeddedError
from ibutsu_server.embedded.supervisor import Check

_PING_SECONDS = 0.5


def postgres_ready(settings: DatabaseSettings) -> Check:
    """Check that PostgreSQL lets the applications in."""

    async def check() -> str | None:
        return postgres.refusal(settings)

    return check


def redis_ready(url: str) -> Check:
    """Check that Redis lets the applications in."""

    async def check() -> str | None:
        return redis.refusal(url)

    return check


def page_ready(url: str, pid: Callable[[], int | None]) -> Check:
    """Check that the page answers 200, and that it is the process with that pid that listens there.

    Raises EmbeddedError when another process does: somebody took the port after it was chosen.
    """
    port = urlsplit(url).port

    async def check() -> str | None:
        taken = _is_taken(port)
        own = pid()
        if own is None or not _listens(own, port):
            if taken:
                raise EmbeddedError(f"The port {port} was taken by another process meanwhile; start again.")
            return f"nothing listens at {url} yet"
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            try:
                response = await client.get(url)
            except httpx.HTTPError as error:
                return f"{url} does not answer ({type(error).__name__})"
        return None if response.status_code == httpx.codes.OK else f"{url} answers {response.status_code}"

    return check


def _listens(pid: int, port: int | None) -> bool:
    try:
        connections = psutil.Process(pid).net_connections("inet")
    except psutil.Error:
        return False
    return any(entry.status == psutil.CONN_LISTEN and entry.laddr.port == port for entry in connections)


def _is_taken(port: int | None) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((ports.LOOPBACK, port or 0)) == 0


def worker_ready(celery: Celery, name: str) -> Check:
    """Check that the worker of that name (`worker1`, at this host) answers through the broker."""
    node = f"{name}@{socket.gethostname()}"

    async def check() -> str | None:
        try:
            replies = celery.control.ping(destination=[node], timeout=_PING_SECONDS, limit=1)
        except OSError as error:
            return f"the broker does not answer ({error})"
        return None if replies else f"{node} does not answer through the broker"

    return check
