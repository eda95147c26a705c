"""Clients that upload reports through whatever happens, and know at the end what must be there."""

from __future__ import annotations

import collections
import dataclasses
import random
import threading
import time
import uuid

import httpx
import sqlalchemy as sa
from sqlalchemy.orm import Session

from fault_reports import Content, archive, junit, read, stored
from ibutsu_server.store.models import Import, Run
from ibutsu_server.store.uploads import UNFINISHED

ANSWER_SECONDS = 15
AGAIN_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Uploaded:
    """An upload that the API took, the import that it became, and when it was sent."""

    id: uuid.UUID
    content: Content
    sent: float


class Load:
    """Uploads reports, each of which differs from all others, and each again until the API has taken it."""

    def __init__(self, url: str, token: str, *, clients: int = 2, rate: float = 2.0, seed: int = 0) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._pause = clients / rate
        self._draw = random.Random(seed)
        self._made = 0
        self._lock = threading.Lock()
        self._goes = threading.Event()
        self._ends = False
        self._idle = [threading.Event() for _ in range(clients)]
        self.uploaded: list[Uploaded] = []
        self.refusals: collections.Counter[str] = collections.Counter()
        self.failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._run, args=(idle,), daemon=True) for idle in self._idle]
        for thread in self._threads:
            thread.start()

    def resume(self) -> None:
        """Upload from now on."""
        self._goes.set()

    def pause(self) -> None:
        """Upload no more once the API has taken what is under way."""
        self._goes.clear()
        for idle in self._idle:
            while not idle.wait(1):
                self.check()

    def close(self) -> None:
        """Upload nothing more."""
        self._ends = True
        self._goes.set()

    def check(self) -> None:
        """Raise what went wrong with a client."""
        if self.failure is not None:
            raise self.failure

    def upload(self, client: httpx.Client, content: Content) -> Uploaded:
        """Upload the report as often as it takes; the API knows again what it has stored without saying so."""
        sent = time.monotonic()
        while True:
            try:
                answer = client.post(
                    f"{self._url}/api/import",
                    files={"importFile": (content.filename, content.data)},
                    data={"project": "local"},
                    headers=self._headers,
                )
            except httpx.TransportError as error:
                self._refused(type(error).__name__)
            else:
                if answer.status_code == 201:
                    uploaded = Uploaded(uuid.UUID(answer.json()["id"]), content, sent)
                    self.uploaded.append(uploaded)
                    return uploaded
                self._refused(str(answer.status_code))
                assert answer.status_code >= 500, answer.text
            time.sleep(AGAIN_SECONDS)

    def next(self, *tests: int) -> Content:
        """Return another report; of so many tests, or of one of these numbers."""
        with self._lock:
            if not tests and self._draw.random() < 0.2:
                return archive(self._draw, 20, 2)
            count = self._draw.choice(tests or (20, 100, 500))
            self._made += 1
            # No UUID, which would be taken for a run's id.
            return Content(f"report-{self._made}.xml", junit(count, name=f"suite {self._made}"))

    def _refused(self, how: str) -> None:
        with self._lock:
            self.refusals[how] += 1

    def _run(self, idle: threading.Event) -> None:
        try:
            with httpx.Client(timeout=ANSWER_SECONDS) as client:
                while not self._ends:
                    idle.set()
                    self._goes.wait()
                    if self._ends:
                        return
                    idle.clear()
                    if not self._goes.is_set():
                        continue
                    self.upload(client, self.next())
                    time.sleep(self._pause)
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self.failure = error
        finally:
            idle.set()


def unfinished(session: Session) -> list[str]:
    """Describe the imports that have not ended."""
    session.rollback()
    query = sa.select(Import.id, Import.filename, Import.status, Import.attempts, Import.error)
    return [str(row) for row in session.execute(query.where(Import.status.in_(UNFINISHED)))]


def check_rows(session: Session, load: Load, known: set[uuid.UUID]) -> int:
    """See that each upload is one import and one run, and compare those not `known` row for row; return how many."""
    session.rollback()
    imports = {row.id: row for row in session.scalars(sa.select(Import))}
    runs = set(session.scalars(sa.select(Run.id)))
    ids = [upload.id for upload in load.uploaded]
    assert len(set(ids)) == len(ids), "two uploads share an import"
    assert set(imports) == set(ids), "an import is missing, or one is there twice"
    assert runs == {row.run_id for row in imports.values()}
    checked = 0
    for upload in load.uploaded:
        if upload.id in known:
            continue
        row = imports[upload.id]
        assert (row.status, row.error) == ("done", None), (row.filename, row.status, row.error)
        run_id, expected = read(upload.content, uuid.uuid5(upload.id, "run"))
        assert row.run_id == run_id
        found = stored(session, run_id)
        assert (found.results, found.artifacts) == (expected.results, expected.artifacts), upload.id
        known.add(upload.id)
        checked += 1
    return checked
