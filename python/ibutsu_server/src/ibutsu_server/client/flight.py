"""The canary's flight: its legs, one after the other, and its removal, whatever became of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import io
import json
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ibutsu_server.client.access import ClientError
from ibutsu_server.client.server import BusyError, Client, MissingError, UnavailableError, UnreachableError

POLL = 0.05
"""Seconds between two questions."""

REMOVAL = 30.0
"""Seconds that the removal may take, an import that still runs included."""

INTERRUPTED = "It was interrupted."

ARTIFACT = b"The canary was here.\n"


@dataclasses.dataclass(slots=True)
class Leg:
    """A leg: what it means, how long it took, and why it failed, if it did."""

    name: str
    meaning: str
    seconds: float = 0.0
    error: str | None = None


class Flight:
    """A report's way through the pipeline. `deadline` is of `time.monotonic`, and does not hold for the removal."""

    def __init__(self, client: Client, project: str | None, deadline: float) -> None:
        self._client = client
        self._project = project
        self._deadline = deadline
        self._result_id = str(uuid.uuid4())
        self._is_there = False
        self.run_id = str(uuid.uuid4())
        self.import_id: str | None = None
        self.done: list[Leg] = []
        self.stopped = False

    @property
    def filename(self) -> str:
        """The name of the upload, by which it is found where its answer was lost."""
        return f"canary-{self.run_id}.tar.gz"

    def fly(self, tell: Callable[[Leg], object]) -> None:
        """Fly; `tell` is told each leg when it is done. The removal is the last, whatever became of the others.

        Ctrl-C ends the flight, but not its removal; a second one does that too.
        """
        steps: tuple[tuple[Leg, Callable[[], None]], ...] = (
            (Leg("upload", "the API stored the upload and put its task on the queue"), self._upload),
            (Leg("queue", "a worker took the task"), self._wait),
            (Leg("import", "the worker imported the report"), self._follow),
            (Leg("result", "the API answers with the run and its result"), self._read),
            (Leg("artifact", "the API answers with the artifact's bytes"), self._read_artifact),
        )
        try:
            for leg, step in steps:
                tell(self._flown(leg, step))
                if leg.error:
                    break
        except KeyboardInterrupt:
            # It came between two legs: the next is the one that failed.
            self.stopped = True
            for leg, _ in steps[len(self.done) :][:1]:
                leg.error = INTERRUPTED
                self.done.append(leg)
        finally:
            removal = self._flown(Leg("removal", "the import, the run and all of it are gone"), self._remove)
        tell(removal)

    def _flown(self, leg: Leg, step: Callable[[], None]) -> Leg:
        begun = time.monotonic()
        self.done.append(leg)
        try:
            step()
        except ClientError as error:
            leg.error = str(error)
        except KeyboardInterrupt:
            leg.error = INTERRUPTED
            self.stopped = True
        leg.seconds = time.monotonic() - begun
        return leg

    def _upload(self) -> None:
        fields = {"metadata": json.dumps({"canary": True}), "source": "ibutsu-canary"}
        if self._project:
            fields["project"] = self._project
        with tempfile.TemporaryDirectory(prefix="ibutsu-canary-") as directory:
            path = Path(directory) / self.filename
            path.write_bytes(report(self.run_id, self._result_id, dt.datetime.now(dt.UTC)))
            self._is_there = True
            try:
                imported = self._client.upload(path, fields)
            except ClientError as error:
                # The server may have stored what it did not answer; what it refused, it has not.
                self._is_there = isinstance(error, UnavailableError) and not isinstance(error, UnreachableError)
                raise
        self.import_id = imported["id"]
        message = (imported.get("metadata") or {}).get("message")
        if message:
            raise ClientError(message)

    def _wait(self) -> None:
        self._until(lambda status: status != "pending", "no worker took it")

    def _follow(self) -> None:
        imported = self._until(lambda status: status in ("done", "error"), "the worker has not ended")
        if imported["status"] == "error":
            raise ClientError(imported.get("error") or "The import failed, and the server does not say why.")

    def _until(self, reached: Callable[[str], bool], lacking: str) -> dict[str, Any]:
        last = ""
        while True:
            with contextlib.suppress(UnavailableError):
                imported = self._client.get_import(str(self.import_id))
                last = imported.get("error") or ""
                if reached(imported["status"]):
                    return imported
            if time.monotonic() > self._deadline:
                raise ClientError(f"The time is up, and {lacking}. {last}".rstrip())
            time.sleep(POLL)

    def _read(self) -> None:
        run, result = self._client.get_run(self.run_id), self._client.get_result(self._result_id)
        if (run.get("summary") or {}).get("tests") != 1 or result.get("result") != "passed":
            raise ClientError("The run or its result is not what was uploaded.")

    def _read_artifact(self) -> None:
        artifacts = self._client.get_artifacts(self._result_id)
        if [self._client.download(one["id"]) for one in artifacts] != [ARTIFACT]:
            raise ClientError("The artifact is not what was uploaded.")

    def _remove(self) -> None:
        if not self._is_there:
            return
        deadline = time.monotonic() + REMOVAL
        if self.import_id is None:
            found = self._patient(deadline, lambda: self._client.get_imports(count=1, filename=self.filename))
            self.import_id = found[0]["id"] if found else None
        if self.import_id is not None:
            self._delete(deadline, "import", self._client.delete_import, self.import_id)
        self._delete(deadline, "run", self._client.delete_run, self.run_id)

    def _delete(self, deadline: float, what: str, delete: Callable[[str], None], key: str) -> None:
        try:
            self._patient(deadline, lambda: delete(key))
        except MissingError:
            return
        except ClientError as error:
            raise ClientError(f"The {what} {key} is left behind: {error}") from error

    def _patient(self, deadline: float, call: Callable[[], Any]) -> Any:
        """Call until the server answers, and an import that runs has ended."""
        while True:
            try:
                return call()
            except (BusyError, UnavailableError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL * 10)


def report(run_id: str, result_id: str, now: dt.datetime) -> bytes:
    """Return an archive of one run with one result that passed and one artifact."""
    start = now.isoformat()
    metadata = {"canary": True}
    run = {"id": run_id, "start_time": start, "duration": 0.0, "metadata": metadata}
    result = {"id": result_id, "run_id": run_id, "test_id": "ibutsu.canary", "result": "passed", "start_time": start,
              "duration": 0.0, "metadata": metadata}  # fmt: skip
    files = {
        f"{run_id}/run.json": json.dumps(run).encode(),
        f"{run_id}/{result_id}/result.json": json.dumps(result).encode(),
        f"{run_id}/{result_id}/canary.log": ARTIFACT,
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), int(now.timestamp())
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
