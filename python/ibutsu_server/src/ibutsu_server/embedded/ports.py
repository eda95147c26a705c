"""Loopback ports."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the ports that the kernel gives to outgoing connections, so that a server that is started again finds its own.
_LOWEST, _HIGHEST = 15000, 32000


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(*preferred: int | None) -> int:
    """Return the first of the preferred ports that is free, else any free one."""
    for port in preferred:
        if port and is_free(port):
            return port
    for _ in range(1000):
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 - not a secret
        if is_free(port):
            return port
    raise OSError("No port is free on 127.0.0.1.")
