"""Deleting what the policies call old, in bounded batches, each a short transaction of its own.

A result takes its artifacts along, a run its results and artifacts, however young these are: nothing is left that
nobody can reach. They go before it, in batches of their own, so that no batch is large; what is added meanwhile goes
with it, by the foreign keys. A pinned run stays, and all that belongs to it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from ibutsu_core.pacing import Pace
from ibutsu_core.retention import Kind
from ibutsu_server.store import partitions
from ibutsu_server.store import retention_sql as sql
from ibutsu_server.store.batches import Batches, OutOfTimeError
from ibutsu_server.store.chunks import SIZE as CHUNK_SIZE
from ibutsu_server.store.policies import Cutoffs, Policies
from ibutsu_server.store.pruned import Pruned, Tally

BATCH_BYTES = 32 * 1024 * 1024
"""Bytes of artifacts or uploads that a batch deletes at most."""

MOST_RUNS = 200
"""Runs of a batch at most: each takes a place in PostgreSQL's shared table of locks."""

FETCH = 10_000
"""Ids of runs' results that are in memory at once."""

ROUNDS = 3
"""How often a run or result is tried to which others add while it is emptied."""

_LOCK = 0x1B07_5D05

_FIRST: Mapping[str, Any] = {"after": dt.datetime.min.replace(tzinfo=dt.UTC), "after_id": uuid.UUID(int=0)}
"""A key before those of all rows."""


@contextlib.contextmanager
def exclusive(connection: sa.Connection) -> Iterator[bool]:
    """Keep other pruning out until the block ends; gives False where somebody is pruning already.

    The lock is the connection's, and goes with it.
    """
    with connection.begin():
        mine = bool(connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}))
    try:
        yield mine
    finally:
        if mine and not connection.invalidated:
            connection.rollback()
            with connection.begin():
                connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


def prune(
    batches: Batches,
    policies: Policies,
    kinds: Iterable[Kind],
    now: dt.datetime,
    *,
    tell: Callable[[Pruned], object] = lambda _pruned: None,
) -> Pruned:
    """Delete what the policies call old at the instant `now`, of these kinds, and what belongs to it.

    `tell` is told after each batch what was done so far. Whoever calls this holds `exclusive`.
    """
    work = _Work(batches, tell)
    wanted = set(kinds)
    try:
        if Kind.ARTIFACTS in wanted:
            work.artifacts(policies.cutoffs(Kind.ARTIFACTS, now))
            work.uploads(policies.cutoffs(Kind.ARTIFACTS, now))
        if Kind.RESULTS in wanted:
            for project, instant in policies.each(Kind.RESULTS, now):
                work.results(project, instant)
        if Kind.RUNS in wanted:
            for project, instant in policies.each(Kind.RUNS, now):
                work.runs(project, instant)
            work.imports(policies.cutoffs(Kind.RUNS, now))
    except OutOfTimeError:
        work.pruned.complete = False
    work.pruned.batches = batches.count
    return work.pruned


def prune_uploads(batches: Batches, cutoffs: Cutoffs) -> Pruned:
    """Delete the uploads of imports that failed before the cut-offs; the imports stay, with their reason."""
    work = _Work(batches, lambda _pruned: None)
    try:
        work.uploads(cutoffs)
    except OutOfTimeError:
        work.pruned.complete = False
    return work.pruned


class _Work:
    def __init__(self, batches: Batches, tell: Callable[[Pruned], object]) -> None:
        self.pruned = Pruned()
        self._batches = batches
        self._connection = batches.connection
        self._tell = tell

    def artifacts(self, cutoffs: Cutoffs) -> None:
        """Delete old artifacts."""
        if cutoffs.latest is None:
            return
        own = cutoffs.as_parameters()
        if cutoffs.default is not None:
            self._partitions(cutoffs.default, own)
        for row in self._walk("artifacts", lambda _: sql.ARTIFACTS, {**own, "latest": cutoffs.latest}):
            self.pruned.in_use += row.in_use

    def _partitions(self, cutoff: dt.datetime, own: Mapping[str, Any]) -> None:
        """Drop what is old as a whole, which gives its disk back at once; what is left goes by batches."""
        for partition in partitions.expired(self._connection, cutoff):
            bounds = {"lower": partition.bounds.lower, "upper": partition.bounds.upper}
            (ages,) = self._read(sql.AGES, {**own, **bounds})
            tell = functools.partial(self._note_step, ages, partitions.Dropped())
            check = self._batches.check_time
            partitions.drop(
                self._connection, partition, kept=sql.KEPT_ARTIFACTS, parameters=own, tell=tell, check=check
            )

    def _note_step(self, ages: sa.Row[Any], noted: partitions.Dropped, done: partitions.Dropped) -> None:
        """Note what a drop did beyond what is `noted`; raises OutOfTimeError, and the next call goes on with it."""
        gone = Tally(done.artifacts - noted.artifacts, done.bytes - noted.bytes)
        if gone.gone:
            gone.oldest, gone.newest = ages.oldest, ages.newest
        self.pruned.disk += done.disk - noted.disk
        noted.artifacts, noted.bytes, noted.disk = done.artifacts, done.bytes, done.disk
        self._note(self.pruned.artifacts, gone)

    def uploads(self, cutoffs: Cutoffs) -> None:
        """Delete the uploads of imports that failed long ago. The imports stay, and cannot be tried again."""
        for upload in self._read(sql.FAILED_UPLOADS, cutoffs.as_parameters()):
            for row in self._cut(sql.CUT_UPLOAD, upload.id, upload.size):
                self._note(self.pruned.uploads, row)

    def results(self, project: uuid.UUID | None, cutoff: dt.datetime) -> None:
        """Delete old results of the project, with their artifacts."""
        whose = {"project": project, "cutoff": cutoff}
        for dated in (True, False):
            statement = functools.partial(sql.results, project=project is not None, dated=dated)
            for row in self._walk("results", lambda pace: statement(locked=pace.failures > 0), whose):  # noqa: B023
                self.pruned.in_use += row.in_use
                self._finish(
                    row.laden, self._empty_results, lambda ids: self._delete_results(sql.old_results, ids, whose)
                )

    def runs(self, project: uuid.UUID | None, cutoff: dt.datetime) -> None:
        """Delete old runs of the project, with their results and artifacts."""
        parameters: dict[str, Any] = {"project": project, "cutoff": cutoff, "size": MOST_RUNS}
        for dated in (True, False):
            statement, key = sql.runs_page(project=project is not None, dated=dated), _FIRST
            while page := self._read(statement, {**parameters, **key}):
                old = [row.id for row in page if row.goes]
                self._finish(old, self._empty_runs, lambda ids: self._delete_runs(ids, cutoff))
                key = {"after": page[-1].last, "after_id": page[-1].id}

    def imports(self, cutoffs: Cutoffs) -> None:
        """Delete the record of old imports that nothing is left of: no run, and no upload."""
        if cutoffs.latest is not None:
            parameters = {**cutoffs.as_parameters(), "latest": cutoffs.latest}
            for _ in self._walk("imports", lambda _: sql.IMPORTS, parameters):
                pass

    def _walk(
        self, table: str, statement: Callable[[Pace], sa.TextClause], parameters: Mapping[str, Any]
    ) -> Iterator[sa.Row[Any]]:
        """Run the statement for page after page of the table, and yield what each told."""
        tally = self.pruned.tallies[table]
        key, seen = _FIRST, True
        while seen:
            asked = {"bytes": BATCH_BYTES, **parameters, **key}

            def batch(pace: Pace) -> sa.Row[Any]:
                return self._connection.execute(statement(pace), {**asked, "size": pace.size}).one()  # noqa: B023

            row = self._batches.run(table, batch, rows=lambda row: row.seen)
            self._note(tally, row)
            for large in row.large or ():
                for cut in self._cut(sql.CUT_ARTIFACT, large["id"], large["size"]):
                    self._note(tally, cut)
            yield row
            key, seen = {"after": row.last, "after_id": row.last_id}, row.seen

    def _finish(
        self,
        ids: list[uuid.UUID] | None,
        empty: Callable[[list[uuid.UUID]], None],
        delete: Callable[[list[uuid.UUID]], tuple[int, sa.Row[Any]]],
    ) -> None:
        """Delete rows to which others belong: those first, and what is added meanwhile in another round.

        `delete` takes the first of the ids, as many as it likes, and tells how many these were.
        """
        laden = ids or []
        for _ in range(ROUNDS):
            if not laden:
                return
            empty(laden)
            left, laden = laden, []
            while left:
                taken, row = delete(left)
                left = left[taken:]
                laden += row.laden or []
                self.pruned.in_use += row.in_use
        self.pruned.in_use += len(laden)

    def _empty_results(self, results: list[uuid.UUID]) -> None:
        self._delete_artifacts(sql.ARTIFACTS_OF_RESULTS, results)

    def _empty_runs(self, runs: list[uuid.UUID]) -> None:
        in_use = self.pruned.in_use
        # The ids come from a cursor that outlives its transaction, so that no row is looked at twice.
        self._read(sql.RESULTS_OF, {"runs": runs})
        try:
            while rows := self._read(sql.FETCH, {"count": FETCH}):
                self._delete_owned([row.id for row in rows], runs)
        finally:
            self._read(sql.CLOSE, {})
        self._delete_artifacts(sql.ARTIFACTS_OF_RUNS, runs)
        self.pruned.in_use = in_use  # What is left of a run is counted as the run.

    def _delete_owned(self, ids: list[uuid.UUID], runs: list[uuid.UUID]) -> None:
        def delete(ids: list[uuid.UUID]) -> tuple[int, sa.Row[Any]]:
            return self._delete_results(sql.owned_results, ids, {"runs": runs})

        laden: list[uuid.UUID] = []
        while ids:
            taken, row = delete(ids)
            ids = ids[taken:]
            laden += row.laden or []
        self._finish(laden, self._empty_results, delete)

    def _delete_results(
        self, statement: Callable[..., sa.TextClause], ids: list[uuid.UUID], parameters: Mapping[str, Any]
    ) -> tuple[int, sa.Row[Any]]:
        def batch(pace: Pace) -> tuple[int, sa.Row[Any]]:
            some = ids[: pace.size]
            found = self._connection.execute(statement(locked=pace.failures > 0), {**parameters, "ids": some})
            return len(some), found.one()

        taken, row = self._batches.run("results", batch, rows=lambda done: done[0])
        self._note(self.pruned.results, row)
        return taken, row

    def _delete_runs(self, ids: list[uuid.UUID], cutoff: dt.datetime) -> tuple[int, sa.Row[Any]]:
        def batch(pace: Pace) -> tuple[int, sa.Row[Any]]:
            some = ids[: pace.size]
            held = self._connection.scalars(sql.HOLD_RUNS, {"ids": some, "cutoff": cutoff}).all()
            return len(some), self._connection.execute(sql.RUNS, {"ids": list(held), "asked": len(some)}).one()

        taken, row = self._batches.run("runs", batch, rows=lambda done: done[0])
        self._note(self.pruned.runs, row)
        return taken, row

    def _delete_artifacts(self, statement: sa.TextClause, owners: list[uuid.UUID]) -> None:
        whose = {"owners": owners, **Cutoffs(None, {}).as_parameters()}
        before = self.pruned.artifacts.gone
        for _ in self._walk("artifacts", lambda _: statement, whose):
            if self.pruned.artifacts.gone == before:
                break  # What is locked stays, and would be found for ever.
            before = self.pruned.artifacts.gone

    def _cut(self, statement: sa.TextClause, key: uuid.UUID, size: int) -> Iterator[sa.Row[Any]]:
        """Delete what has very many bytes from its end on; yield what the statement for its beginning told."""
        end = -(-size // CHUNK_SIZE)
        while True:

            def batch(pace: Pace) -> tuple[int, list[sa.Row[Any]]]:
                start = max(0, end - min(pace.size, BATCH_BYTES // CHUNK_SIZE))  # noqa: B023
                return start, list(self._connection.execute(statement, {"id": key, "position": start}))

            start, rows = self._batches.run("chunks", batch, rows=lambda done: end - done[0])  # noqa: B023
            if start == 0 or not rows:
                yield from rows
                return
            end = start

    def _read(self, statement: sa.TextClause, parameters: Mapping[str, Any]) -> list[sa.Row[Any]]:
        with self._connection.begin():
            found = self._connection.execute(statement, parameters)
            return list(found) if found.returns_rows else []

    def _note(self, tally: Tally, row: sa.Row[Any] | Tally) -> None:
        tally.add(row)
        self._tell(self.pruned)
        if row.gone:
            self._batches.check_time()
