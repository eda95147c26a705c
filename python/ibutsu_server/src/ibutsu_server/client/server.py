"""The few calls of the HTTP API that commands make; whatever goes wrong is a ClientError with a sentence."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from ibutsu_server.client.access import ClientError, Server
from ibutsu_server.client.files import WatchedFile

CONNECT_TIMEOUT = 10
READ_TIMEOUT = 60
UPLOAD_TIMEOUT = 300
"""Seconds; the last is how long the server may take to store an upload that has arrived."""


class UnavailableError(ClientError):
    """The server does not answer, or cannot at the moment: another attempt may work."""


class Client:
    """A connection to a server, to be used in a `with` statement."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http = httpx.Client(
            base_url=f"{server.url}/api",
            headers={"Authorization": f"Bearer {server.token}"},
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            # A proxy cannot reach this machine's own addresses.
            trust_env=urlsplit(server.url).hostname not in ("127.0.0.1", "::1", "localhost"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def frontend(self) -> str:
        """Return where people look at runs; proves that the server is there and knows the token."""
        answer = self._call("GET", "/health/info")
        return str(answer.get("frontend") or self._server.url).rstrip("/")

    def upload(
        self, path: Path, fields: Mapping[str, str], *, uploaded: Callable[[int], None] = lambda _: None
    ) -> dict[str, Any]:
        """Upload a report as a stream; `uploaded` is told the bytes that have gone. Returns the import."""
        name = os.fsencode(path.name).decode("utf-8", "replace")
        with WatchedFile(path, uploaded) as file:
            return self._call(
                "POST",
                "/import",
                data=dict(fields),
                files={"importFile": (name, file, "application/octet-stream")},
                timeout=httpx.Timeout(UPLOAD_TIMEOUT, connect=CONNECT_TIMEOUT),
            )

    def get_import(self, import_id: str) -> dict[str, Any]:
        """Return the import as it stands."""
        return self._call("GET", f"/import/{import_id}")

    def get_imports(self, *, status: str | None, count: int) -> list[dict[str, Any]]:
        """Return the newest imports, at most `count`, all or those with that status."""
        return self._listed("/import", "imports", count, {"status": status})

    def get_maintenance(self, *, count: int, **fields: str | None) -> list[dict[str, Any]]:
        """Return the newest rows of the ledger, at most `count`: all, or those with the given `status`, `entry`, …"""
        return self._listed("/admin/maintenance", "maintenance", count, fields)

    def retry_import(self, import_id: str) -> dict[str, Any]:
        """Have a failed import tried again; return it."""
        return self._call("POST", f"/import/{import_id}/retry")

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Return the run."""
        return self._call("GET", f"/run/{run_id}")

    def pin_run(self, run_id: str, *, pinned: bool) -> dict[str, Any]:
        """Pin the run, or unpin it; return it."""
        return self._call("PUT" if pinned else "DELETE", f"/run/{run_id}/pin")

    def find_project(self, name_or_id: str) -> dict[str, Any]:
        """Return the project of that name or id."""
        with contextlib.suppress(ValueError):
            return self._call("GET", f"/project/{uuid.UUID(name_or_id)}")
        found = self._call("GET", "/project", params={"filter": f"name={name_or_id}"}).get("projects") or []
        if not found:
            raise ClientError(f"There is no project {name_or_id!r}, or you are not a member of it.")
        project: dict[str, Any] = found[0]
        return project

    def update_project(self, project_id: str, **fields: Any) -> dict[str, Any]:
        """Change the project's fields; return it."""
        return self._call("PUT", f"/project/{project_id}", json=fields)

    def _listed(self, path: str, plural: str, count: int, fields: Mapping[str, str | None]) -> list[dict[str, Any]]:
        filters = [f"{name}={value}" for name, value in fields.items() if value]
        answer = self._call("GET", path, params={"pageSize": count, "filter": filters})
        rows: list[dict[str, Any]] = answer.get(plural) or []
        return rows

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        url = self._server.url
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError as error:
            raise UnavailableError(
                f"Cannot connect to {url}, which {self._server.origin} names ({error}). Is the server running? "
                "`ibutsu up` starts one here; --url or IBUTSU_URL points to another."
            ) from error
        except httpx.TimeoutException as error:
            raise UnavailableError(f"{url} did not answer in time; it may be overloaded: try again.") from error
        except httpx.TransportError as error:
            raise UnavailableError(f"The connection to {url} broke off ({error}); try again.") from error
        if response.is_success:
            try:
                answer = response.json()
            except ValueError:
                answer = None
            if isinstance(answer, dict):
                return answer
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> ClientError:
        url, status, detail = self._server.url, response.status_code, _detail(response)
        match status:
            case 401:
                return ClientError(
                    f"{url} does not accept the token. {detail} `ibutsu token create` on the server makes a new one; "
                    "give it with --token or IBUTSU_TOKEN."
                )
            case 403:
                who = "" if "superadmin" in detail else " Ask the project's owner to add you, or name another."
                return ClientError(f"{url} forbids it: {detail}{who}")
            case 413:
                return ClientError(f"{url} takes no upload of this size. {detail} A proxy before it may have a limit.")
            case _ if status in (429, 502, 503, 504):
                return UnavailableError(f"{url} cannot answer at the moment ({status}). {detail} Try again later.")
            case _ if status >= 500:
                return UnavailableError(f"{url} failed ({status}). {detail or 'Its log says why.'}")
            case _ if status >= 400 and detail:
                return ClientError(detail)
            case _:
                return ClientError(f"What {url} answers ({status}) is not Ibutsu's API; check the URL.")


def _detail(response: httpx.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return ""
    detail = answer.get("detail") if isinstance(answer, dict) else answer
    return detail if isinstance(detail, str) else ""
