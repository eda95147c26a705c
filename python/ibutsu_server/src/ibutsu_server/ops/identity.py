"""What a process says of itself to PostgreSQL, so that all can be seen from one place: its kind, version and broker.

It holds no secret: of the broker's URL there is a digest of the host, the port and the database.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from urllib.parse import urlsplit

from ibutsu_core.settings import Application

_DIGITS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A process: its application, its version, and the digest of its broker's place."""

    application: Application
    version: str
    broker: str

    def __str__(self) -> str:
        return f"ibutsu-{self.application} {self.version} {self.broker}"

    @classmethod
    def of(cls, name: str) -> Identity | None:
        """Read PostgreSQL's `application_name`; None where it is none of ours."""
        found = re.fullmatch(rf"ibutsu-([a-z]+) (\S+) ([0-9a-f]{{{_DIGITS}}})", name)
        if found is None or found[1] not in set(Application):
            return None
        return cls(Application(found[1]), found[2], found[3])


def place(*parts: object) -> str:
    """Return a digest of the parts of an address."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:_DIGITS]


def broker_place(url: str) -> str:
    """Return a digest of where a Redis is, whoever asks: the host, the port and the number of the database."""
    parts = urlsplit(url)
    return place(parts.hostname, parts.port or 6379, int(parts.path.strip("/") or 0))
