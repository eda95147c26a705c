"""What gunicorn is told beside its command: how long a client may keep one of its threads waiting."""

from __future__ import annotations

import socket
import struct
from typing import Any


def post_worker_init(worker: Any) -> None:
    """Give up on clients that neither send nor take a byte for a while, each of which would keep a thread for ever.

    Linux hands the timeouts of a listening socket on to the connections that it accepts, so they hold for all of a
    request: its first line, its body, and its answer. A read or a write then fails, as when a client has gone.
    """
    seconds = worker.wsgi.extensions["ibutsu_settings"].api_limits.client_time
    for listener in worker.sockets:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", seconds, 0))
