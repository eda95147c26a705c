"""The network between two processes of one machine, that tests cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

PIECE = 64 * 1024
"""Bytes."""


class Proxy:
    """Passes TCP connections on to a port of this machine, as long as it is not told to stall."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._flows.set()
        self._listener.close()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """While the block runs nothing passes, and both ends believe that the other has it."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        self._flows.wait()
        try:
            there = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            here.close()
            return
        back = threading.Thread(target=self._pass, args=(there, here), daemon=True)
        back.start()
        self._pass(here, there)
        back.join()
        here.close()
        there.close()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                self._flows.wait()
                sink.sendall(data)
        self._flows.wait()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def uncuttable() -> str | None:
    """Return why no network can be cut here, None where one can."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        return "only root can cut a network, with iptables"
    done = subprocess.run(["iptables", "--list", "INPUT"], capture_output=True, check=False)
    return "iptables does not work here" if done.returncode else None


@contextlib.contextmanager
def cut(port: int) -> Iterator[None]:
    """While the block runs the kernel drops all packets to and from the port, without a word to either end."""
    rules = [("INPUT", "-i", "lo", "-p", "tcp", way, str(port), "-j", "DROP") for way in ("--dport", "--sport")]
    with contextlib.ExitStack() as stack:
        for rule in rules:
            _iptables("--insert", rule)
            stack.callback(_iptables, "--delete", rule)
        yield


def _iptables(action: str, rule: tuple[str, ...]) -> None:
    subprocess.run(["iptables", "--wait", action, *rule], check=True)
