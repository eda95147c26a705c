"""Which server a command talks to, and with which token: options win, then the environment, then the local system."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LOCAL_FILE = Path(".ibutsu") / "local.json"
"""What `ibutsu up` writes while it runs, in the directory in which it was started."""


class ClientError(Exception):
    """Something a user can put right; the message is a sentence, or a few."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server. `project` is the one to use when the user names none; `origin` says where the URL comes from."""

    url: str
    token: str = dataclasses.field(repr=False)
    project: str | None
    origin: str


def find_server(url: str | None, token: str | None, environ: Mapping[str, str], directory: Path) -> Server:
    """Return the server that the options, the environment or the local system name; raise ClientError.

    The local system's token and project go with its own URL only.
    """
    origin = "--url" if url else "IBUTSU_URL"
    url = url or environ.get("IBUTSU_URL") or None
    token = token or environ.get("IBUTSU_TOKEN") or None
    project = None
    if url is None:
        local = find_local(directory)
        if local is None:
            raise ClientError(
                f"No server is known. Start one with `make up` or `ibutsu up`, in {directory} or above it, or name one "
                "with --url and --token, or IBUTSU_URL and IBUTSU_TOKEN."
            )
        origin, found = str(local[0]), local[1]
        url = found.get("url")
        if not isinstance(url, str):
            raise ClientError(f"{origin} names no URL; start the local system again with `ibutsu up`.")
        token = token or found.get("token")
        project = found.get("project")
    if not token:
        raise ClientError(f"There is no token for {url}. Give one with --token or IBUTSU_TOKEN.")
    if not token.isascii() or any(character.isspace() for character in token):
        raise ClientError(f"The token for {url} is none: it holds a space or a character that no token has.")
    return Server(url=_base(url, origin), token=token, project=project, origin=origin)


def find_local(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the local system's file in the directory or the nearest one above it, and what it says."""
    for parent in (directory, *directory.parents):
        path = parent / LOCAL_FILE
        try:
            content = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise ClientError(f"{path}, which says where the local system is, cannot be read: {error}.") from error
        if not isinstance(content, dict):
            raise ClientError(f"{path}, which says where the local system is, holds no JSON object.")
        return path, content
    return None


def _base(url: str, origin: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ClientError(f"{url!r}, from {origin}, is not a URL of the form http://HOST:PORT.")
    return url.rstrip("/").removesuffix("/api").rstrip("/")
