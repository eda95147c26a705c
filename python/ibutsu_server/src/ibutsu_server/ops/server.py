"""The HTTP server inside each process but Flower. Its threads answer while all others do what they do."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ibutsu_server.ops.health import Answer

Routes = Mapping[str, Callable[[], Answer]]

MOST = 16
"""Requests at once; the oldest gives way to one more, so that no client keeps the probes out."""

TIMEOUT = 5.0
"""Seconds that a client may take to send a piece of its request, or to take one of the answer."""


class HealthServer(http.server.ThreadingHTTPServer):
    """Answers each route by its function, with a bounded number of threads."""

    # The threads are daemons, and what ends the process does not wait for them.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], routes: Routes, *, shared: bool = False) -> None:
        """Listen; where the address is `shared`, other processes may do so too. Raises OSError."""
        self.allow_reuse_port = shared
        self.routes = routes
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        host, port = address
        self.address_family, place = _place(host, port)
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        """Bind to both kinds of addresses where all are meant."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not the parent's: it looks up the host's name, which may take long.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def start(self) -> None:
        """Answer from now on, for as long as the process runs; its forked children do not."""
        threading.Thread(target=self.serve_forever, name="health", daemon=True).start()
        os.register_at_fork(after_in_child=self.socket.close)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread; end the oldest where there are too many."""
        with self._lock:
            self._open.append(request)
            oldest = self._open.pop(0) if len(self._open) > MOST else None
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection."""
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = TIMEOUT
    server: HealthServer

    def do_GET(self) -> None:
        route = self.server.routes.get(self.path.partition("?")[0])
        answer = route() if route else Answer(404, b"".join(f"{path}\n".encode() for path in self.server.routes))
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type if route else "text/plain")
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing: probes come all the time."""


def _place(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    if not host:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        return family, ("", port)
    family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, place
