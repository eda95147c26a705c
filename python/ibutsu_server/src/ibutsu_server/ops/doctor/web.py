"""Flower and the API, asked over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any

from ibutsu_server.ops import reasons
from ibutsu_server.ops.doctor.facts import PageFacts
from ibutsu_server.ops.doctor.trouble import Trouble

FLOWER_HEALTH = "/healthcheck"
API_HEALTH = "/api/health"

AWAY = (OSError, http.client.HTTPException, ValueError)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: a way to a login is an answer."""


def ask_flower(url: str) -> PageFacts | Trouble:
    """Ask Flower whether it lives, and whether it lets strangers in."""
    url = url.rstrip("/")
    try:
        status = _status(url + FLOWER_HEALTH)
        # Without a login Flower answers its API with 401 all the same; its pages are for all.
        first = _status(f"{url}/") if status == 200 else 0
    except AWAY as error:
        return _trouble("Flower", url, error)
    return PageFacts(url=url, alive=status == 200, status=status, open=first == 200)


def ask_api(url: str) -> PageFacts | Trouble:
    """Ask the API whether it lives."""
    url = url.rstrip("/").removesuffix("/api")
    try:
        status = _status(url + API_HEALTH)
    except AWAY as error:
        return _trouble("The API", url, error)
    return PageFacts(url=url, alive=status == 200, status=status)


def listens(host: str, port: int) -> bool:
    """Tell whether something listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=reasons.TIMEOUT):
        return True
    return False


def _status(url: str) -> int:
    if not url.startswith(("http://", "https://")):
        raise ValueError("It is no URL of HTTP.")
    opener = urllib.request.build_opener(_Stay)
    try:
        with opener.open(url, timeout=reasons.TIMEOUT) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _trouble(what: str, url: str, error: Exception) -> Trouble:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        reason = reasons.Reason("timeout", f"does not answer within {reasons.TIMEOUT} s")
    elif isinstance(cause, ConnectionRefusedError):
        reason = reasons.Reason("refused", "does not run there: the connection is refused")
    elif isinstance(cause, socket.gaierror):
        reason = reasons.Reason("name", "cannot be found: there is no such host")
    elif isinstance(cause, ssl.SSLError):
        reason = reasons.Reason("tls", "has no valid TLS certificate")
    else:
        reason = reasons.Reason("unknown", f"does not answer as it should ({type(cause).__name__})")
    return Trouble(reason.kind, f"{what} at {place(url)} {reason.sentence}.")


def place(url: str) -> str:
    """Return a URL without a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
