"""From the text of an environment variable to its value.

Each function returns the value, or raises a ValueError whose message goes on from "NAME …" and does not repeat the
text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, urlsplit

VISIBILITY_TIMEOUT = 12 * 60 * 60
"""Seconds after which Redis hands an unacknowledged message to another worker; above the longest task."""

LONGEST_TASK = VISIBILITY_TIMEOUT - 60 * 60
"""Seconds that a task may take at most: an hour below the visibility timeout."""

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

LOG_FORMATS = ("text", "json")


def text(value: str) -> str:
    return value


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]+", value, re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(value)

    return parse


def port(value: str) -> int:
    if value.startswith("tcp://"):
        # Kubernetes injects NAME_PORT=tcp://… for a Service called `postgresql`.
        raise ValueError(
            "is a Kubernetes service link, not a port; set it explicitly, or set enableServiceLinks: false"
        )
    return whole(1, 65535)(value)


def flag(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return value.lower() == "true"


def log_level(value: str) -> str:
    if value.lower() not in LOG_LEVELS:
        raise ValueError(f"is none of {', '.join(LOG_LEVELS)}")
    return value.lower()


def log_format(value: str) -> str:
    if value not in LOG_FORMATS:
        raise ValueError(f"is neither {' nor '.join(LOG_FORMATS)}")
    return value


def address(value: str) -> tuple[str, int]:
    host, separator, port = value.rpartition(":")
    if not separator or ("[" in host) != (":" in host):
        raise ValueError("is not of the form HOST:PORT or :PORT")
    try:
        return host.strip("[]"), whole(0, 65535)(port)
    except ValueError as error:
        raise ValueError(f"has a port that {error}") from error


def redis_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in ("redis", "rediss"):
        raise ValueError("is not a URL of the form redis://:PASSWORD@HOST:PORT/DATABASE")
    # A password may hold any character; only the last @ before the host ends it.
    credentials, at, address = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    try:
        url = urlsplit(f"{scheme}://{address}")
        host, _port_number = url.hostname, url.port
    except ValueError as error:
        raise ValueError("has a port that is not a number from 0 to 65535") from error
    if not host:
        raise ValueError("names no host; the form is redis://:PASSWORD@HOST:PORT/DATABASE")
    if not re.fullmatch(r"/?[0-9]*", url.path, re.ASCII):
        raise ValueError("has a database that is not a number; the form is redis://:PASSWORD@HOST:PORT/DATABASE")
    if not at:
        return value
    return f"{scheme}://{_encoded(user)}:{_encoded(password)}@{address}"


def _encoded(text: str) -> str:
    """Percent-encode what a URL cannot hold; what is percent-encoded already stays as it is."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return quote(text, safe="")
    return quote(text, safe="%")


def basic_auth(value: str) -> str:
    for pair in value.split(","):
        user, separator, password = pair.partition(":")
        if not (user and separator and password):
            raise ValueError("is not of the form USERNAME:PASSWORD")
    return value
