"""Pruning leaves exactly what a plain list with the policy applied leaves, however it is interrupted."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from freezegun import freeze_time
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from uuid_utils import uuid7

from ibutsu_core.pacing import Pace
from ibutsu_core.retention import Kind, RetentionError, RetentionPolicy, cutoff
from ibutsu_server.store import partitions, partitions_sql, policies, retention, retention_plan
from ibutsu_server.store import retention_sql as sql
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.models import Artifact, ArtifactChunk, Import, Project, Result, Run, UploadChunk

BASE = dt.datetime.now(dt.UTC).replace(microsecond=0)
EXAMPLES = int(os.environ.get("IBUTSU_TEST_EXAMPLES", "8"))
"""Each is a history of its own; more, with `IBUTSU_TEST_EXAMPLES=500`, take a few minutes."""


# What a history holds. Ages are in days before BASE; those below 0 come when the clock has moved on. Projects, runs and
# results are given by their place in the list, None for no project or run.
@dataclasses.dataclass
class ARun:
    project: int | None
    age: int
    dated: bool
    pinned: bool
    id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)


@dataclasses.dataclass
class AResult:
    project: int | None
    run: int | None
    age: int
    dated: bool
    id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)


@dataclasses.dataclass
class AnArtifact:
    run: int | None
    result: int | None
    age: int
    size: int
    id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)


@dataclasses.dataclass
class AnUpload:
    project: int | None
    age: int
    status: str
    run: int | None
    id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)


@dataclasses.dataclass
class History:
    default: RetentionPolicy
    own: list[RetentionPolicy | None]
    runs: list[ARun]
    results: list[AResult]
    artifacts: list[AnArtifact]
    uploads: list[AnUpload]


def at(age: int) -> dt.datetime:
    return BASE - dt.timedelta(days=age)


@st.composite
def a_policy(draw: st.DrawFn) -> RetentionPolicy:
    artifacts = draw(st.integers(2, 8))
    results = draw(st.integers(max(4, artifacts + 1), 14))
    return RetentionPolicy(artifacts, results, draw(st.integers(max(10, results + 1), 20)))


ages = st.integers(-200, 700)


@st.composite
def a_history(draw: st.DrawFn) -> History:
    own = draw(st.lists(st.none() | a_policy(), min_size=1, max_size=3))
    projects = st.none() | st.integers(0, len(own) - 1)
    few = st.integers(0, 3).map(lambda one: one == 0)
    runs = draw(st.lists(st.builds(ARun, projects, ages, st.booleans(), few), min_size=1, max_size=8))
    in_runs = st.none() | st.integers(0, len(runs) - 1)
    results = draw(st.lists(st.builds(AResult, projects, in_runs, ages, st.booleans()), min_size=1, max_size=25))
    of_runs = st.builds(AnArtifact, st.integers(0, len(runs) - 1), st.none(), ages, st.integers(0, 9))
    of_results = st.builds(AnArtifact, st.none(), st.integers(0, len(results) - 1), ages, st.integers(0, 9))
    artifacts = draw(st.lists(of_results | of_runs, max_size=25))
    outcomes = st.sampled_from(("error", "pending", "done"))
    uploads = draw(st.lists(st.builds(AnUpload, projects, ages, outcomes, in_runs), max_size=6))
    return History(draw(a_policy()), own, runs, results, artifacts, uploads)


class Model:
    """The history as lists, from which pruning removes."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.runs, self.results = list(history.runs), list(history.results)
        self.artifacts, self.imports = list(history.artifacts), list(history.uploads)
        self.uploads = [one for one in history.uploads if one.status != "done"]

    def prune(self, kind: Kind, now: dt.datetime) -> None:
        def old(project: int | None, age: int, pinned: bool = False) -> bool:
            own = None if project is None else self.history.own[project]
            return not pinned and at(age) < cutoff((own or self.history.default).months(kind), now)

        if kind is Kind.ARTIFACTS:
            self.artifacts = [one for one in self.artifacts if not old(self._project(one), one.age, self._pinned(one))]
            self.uploads = [one for one in self.uploads if not (one.status == "error" and old(one.project, one.age))]
        elif kind is Kind.RESULTS:
            self.results = [one for one in self.results if not old(one.project, one.age, self._pinned(one))]
        else:
            self.runs = [one for one in self.runs if not old(one.project, one.age, one.pinned)]
            self.imports = [one for one in self.imports if self._matters(one) or not old(one.project, one.age)]
        self.results = [one for one in self.results if one.run is None or self.history.runs[one.run] in self.runs]
        self.artifacts = [one for one in self.artifacts if self._owner(one) in (*self.runs, *self.results)]

    def _matters(self, one: AnUpload) -> bool:
        return one in self.uploads or (one.run is not None and self.history.runs[one.run] in self.runs)

    def _owner(self, one: AnArtifact) -> ARun | AResult:
        return self.history.runs[one.run] if one.run is not None else self.history.results[one.result or 0]

    def _project(self, one: AnArtifact) -> int | None:
        return self._owner(one).project

    def _pinned(self, one: AnArtifact | AResult) -> bool:
        run = one.run
        if isinstance(one, AnArtifact) and run is None:
            run = self.history.results[one.result or 0].run
        return run is not None and self.history.runs[run].pinned

    def ids(self) -> dict[str, set[uuid.UUID]]:
        tables = ("runs", "results", "artifacts", "uploads", "imports")
        return {name: {one.id for one in getattr(self, name)} for name in tables}


def store(connection: sa.Connection, history: History) -> None:
    """Store the history in an empty database."""
    with connection.begin():
        connection.execute(sa.text("TRUNCATE projects, runs, results, artifacts, artifact_chunks, imports CASCADE"))
    partitions.ensure(connection, BASE - dt.timedelta(days=200), months_ahead=12)
    ids = [uuid.uuid4() for _ in history.own]
    for one in history.artifacts:
        one.id = uuid.UUID(bytes=uuid7(nanoseconds=int(at(one.age).timestamp()) * 10**9).bytes)

    def dates(one: ARun | AResult) -> dict[str, Any]:
        """Age counts by the start time, where there is one."""
        return {"start_time": at(one.age) if one.dated else None, "created": BASE if one.dated else at(one.age)}

    def of(project: int | None) -> uuid.UUID | None:
        return None if project is None else ids[project]

    tables: list[tuple[Any, list[dict[str, Any]]]] = [
        (Project, [{"id": key, "name": str(key), "retention": own and own.as_dict()}
                   for key, own in zip(ids, history.own, strict=True)]),
        (Run, [{"id": one.id, "project_id": of(one.project), "pinned": one.pinned, **dates(one)}
               for one in history.runs]),
        (Result, [{"id": one.id, "project_id": of(one.project), "test_id": "t", "result": "passed",
                   "run_id": None if one.run is None else history.runs[one.run].id, **dates(one)}
                  for one in history.results]),
        (Artifact, [{"id": one.id, "run_id": None if one.run is None else history.runs[one.run].id,
                     "result_id": None if one.result is None else history.results[one.result].id, "filename": "f",
                     "upload_date": at(one.age), "size": one.size} for one in history.artifacts]),
        (ArtifactChunk, [{"artifact_id": one.id, "position": position, "data": b"x"}
                         for one in history.artifacts for position in range(one.size)]),
        (Import, [{"id": one.id, "filename": "f", "format": "junit", "size": 2, "sha256": "", "finished": at(one.age),
                   "created": at(one.age), "status": one.status, "project_id": of(one.project),
                   "run_id": None if one.run is None else history.runs[one.run].id}
                  for one in history.uploads]),
        (UploadChunk, [{"import_id": one.id, "position": position, "data": b"x"}
                       for one in history.uploads if one.status != "done" for position in range(2)]),
    ]  # fmt: skip
    with connection.begin():
        for model, rows in tables:
            if rows:
                connection.execute(sa.insert(model.__table__), rows)


def left(connection: sa.Connection) -> dict[str, set[uuid.UUID]]:
    """Return the ids that are stored; all artifacts of some size and all uploads must have all their content."""
    with connection.begin():
        found = {
            "runs": set(connection.scalars(sa.select(Run.id))),
            "results": set(connection.scalars(sa.select(Result.id))),
            "artifacts": set(connection.scalars(sa.select(Artifact.id))),
            "uploads": set(connection.scalars(sa.select(UploadChunk.import_id))),
            "imports": set(connection.scalars(sa.select(Import.id))),
        }
        sizes = {key: size for key, size in connection.execute(sa.select(Artifact.id, Artifact.size)) if size}
        pieces = sa.select(ArtifactChunk.artifact_id, sa.func.count()).group_by(ArtifactChunk.artifact_id)
        assert {row[0]: row[1] for row in connection.execute(pieces)} == sizes
    return found


class KilledError(Exception):
    """A worker is killed after a batch."""


def prune(connection: sa.Connection, default: RetentionPolicy, kind: Kind, now: dt.datetime, how: int | str) -> None:
    """Prune in one go, or killed after so many batches and begun again, or batch by batch with a budget of no time."""
    with connection.begin():
        found = policies.read(connection, default)
    planned = retention_plan.plan(connection, found, (kind,), now)
    batches = 0

    def tell(_: object) -> None:
        nonlocal batches
        batches += 1
        if batches == how:
            raise KilledError

    total = 0
    while True:
        work = Batches(connection, budget=0 if how == "bit by bit" else None, pace=Pace(1))
        try:
            pruned = retention.prune(work, found, (kind,), now, tell=tell)
        except KilledError:
            event("killed")
            connection.rollback()
            continue
        total += pruned.rows
        if pruned.complete:
            break
    assert pruned.in_use == 0
    if how == "in one go":
        assert pruned.tallies == planned.tallies
    if not isinstance(how, int):
        assert total == planned.rows
    assert retention_plan.plan(connection, found, (kind,), now).rows == 0


hows = st.sampled_from(("in one go", "bit by bit")) | st.integers(1, 12)
steps = st.lists(st.tuples(st.integers(0, 100), st.sampled_from(Kind), hows), min_size=2, max_size=6)


@pytest.mark.parametrize("batch_bytes", [3, 1 << 25])
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    # To make a history shorter takes minutes, and is worth them only by hand.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(history=a_history(), steps=steps, toggled=st.lists(st.integers(0, 7), max_size=2))
def test_what_is_left_is_exactly_what_the_model_leaves(
    connection: sa.Connection,
    batch_bytes: int,
    history: History,
    steps: list[tuple[int, Kind, int | str]],
    toggled: list[int],
) -> None:
    store(connection, history)
    model = Model(history)
    with pytest.MonkeyPatch.context() as patch, freeze_time(BASE) as clock:
        patch.setattr(retention, "BATCH_BYTES", batch_bytes)
        patch.setattr(retention, "CHUNK_SIZE", 1)
        patch.setattr(retention, "FETCH", 2)
        for number, (days, kind, how) in enumerate(steps):
            clock.tick(dt.timedelta(days=days))
            now = dt.datetime.now(dt.UTC)
            prune(connection, history.default, kind, now, how)
            model.prune(kind, now)
            assert left(connection) == model.ids()
            if number == 0:
                for run in (history.runs[one % len(history.runs)] for one in toggled):
                    run.pinned = not run.pinned
                    with connection.begin():
                        connection.execute(sa.update(Run).where(Run.id == run.id).values(pinned=run.pinned))


def test_one_project_alone_is_pruned(connection: sa.Connection) -> None:
    runs = [ARun(project, 700, dated, pinned=False) for project in (0, 1, None) for dated in (True, False)]
    results = [AResult(run.project, number, 700, run.dated) for number, run in enumerate(runs)]
    artifacts = [AnArtifact(None, number, 700, 2) for number in range(len(results))]
    uploads = [AnUpload(project, 700, "error", None) for project in (0, 1, None)]
    store(connection, History(RetentionPolicy(), [None, None], runs, results, artifacts, uploads))
    with connection.begin():
        project = connection.scalar(sa.select(Run.project_id).where(Run.id == runs[2].id))
        only = policies.read(connection, RetentionPolicy(), only=project)
    planned = retention_plan.plan(connection, only, Kind, BASE)
    pruned = retention.prune(Batches(connection), only, Kind, BASE)
    assert pruned.tallies == planned.tallies
    assert {name: tally.gone for name, tally in pruned.tallies.items()} == {
        "artifacts": 2, "uploads": 1, "results": 2, "runs": 2, "imports": 1,
    }  # fmt: skip
    assert left(connection)["runs"] == {run.id for run in runs if run.project != 1}


def test_a_stored_policy_that_makes_no_sense_is_named_and_nothing_is_touched(connection: sa.Connection) -> None:
    with connection.begin():
        values = {"id": uuid.uuid4(), "name": "odd", "retention": {"artifacts": 9, "results": 5, "runs": 12}}
        connection.execute(sa.insert(Project).values(values))
        with pytest.raises(RetentionError, match=r"the project 'odd' makes no sense: The retention of results is 5"):
            policies.read(connection, RetentionPolicy())


def test_what_others_hold_is_left_and_counted_and_nobody_waits(engine: sa.Engine, connection: sa.Connection) -> None:
    runs = [ARun(None, 700, dated=True, pinned=False) for _ in range(4)]
    results = [AResult(None, run, 700, dated=True) for run in (None, None, 0, 1)]
    artifacts = [AnArtifact(None, 1, 700, 1), AnArtifact(2, None, 700, 1)]
    store(connection, History(RetentionPolicy(), [None], runs, results, artifacts, []))
    found = policies.Policies(RetentionPolicy(), {})
    with engine.connect() as other:
        # Somebody changes a result, reports an artifact of another one, and imports into a run.
        other.execute(sa.update(Result).where(Result.id == results[0].id).values(source="x"))
        other.execute(sa.select(Result.id).where(Result.id == results[1].id).with_for_update(key_share=True, read=True))
        lock = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 1))")
        other.execute(lock, {"key": str(runs[3].id)})
        pruned = retention.prune(Batches(connection), found, (Kind.RESULTS, Kind.RUNS), BASE)
        assert (pruned.results.gone, pruned.runs.gone, pruned.in_use) == (2, 3, 3)
        assert left(connection)["results"] == {results[0].id, results[1].id}
        other.rollback()
    pruned = retention.prune(Batches(connection), found, Kind, BASE)
    assert (pruned.results.gone, pruned.runs.gone, pruned.in_use) == (2, 1, 0)


def test_a_run_takes_along_more_than_is_read_at_once(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FETCH", 2)
    results = [AResult(None, 0, 0, dated=True) for _ in range(20)]
    store(connection, History(RetentionPolicy(), [None], [ARun(None, 700, dated=True, pinned=False)], results, [], []))
    pruned = retention.prune(Batches(connection), policies.Policies(RetentionPolicy(), {}), (Kind.RUNS,), BASE)
    assert (pruned.runs.gone, pruned.results.gone, pruned.in_use) == (1, 20, 0)


def test_only_one_prunes_at_a_time(engine: sa.Engine, connection: sa.Connection) -> None:
    with retention.exclusive(connection) as mine, engine.connect() as other:
        assert mine
        with retention.exclusive(other) as second:
            assert not second
    with engine.connect() as other, retention.exclusive(other) as third:
        assert third


def test_the_walk_takes_up_the_index_at_its_last_key(connection: sa.Connection) -> None:
    """Of rows that all have one time, as those of a run have, a page must not read those before it."""
    project = uuid.uuid4()
    with connection.begin():
        connection.execute(sa.insert(Project).values(id=project, name="one"))
        connection.execute(
            sa.text("""
                INSERT INTO results (id, project_id, start_time)
                SELECT CAST(lpad(to_hex(number), 32, '0') AS uuid), :project, '2020-01-01'
                FROM generate_series(1, 20000) AS number
            """),
            {"project": project},
        )
        connection.execute(sa.text("ANALYZE results"))
        page = retention.sql.results(project=True, dated=True, locked=False).text.split("AS MATERIALIZED (")[1]
        page = page.split(LAST)[0] + LAST
        key = {"after": dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "after_id": uuid.UUID(int=19_000), "cutoff": BASE}
        explained = connection.execute(
            sa.text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {page}"), {**key, "project": project, "size": 100}
        ).scalar_one()
    assert explained[0]["Plan"]["Actual Rows"] == 100
    assert explained[0]["Plan"]["Shared Hit Blocks"] + explained[0]["Plan"]["Shared Read Blocks"] < 30


LAST = "LIMIT :size"


def test_a_month_of_many_artifacts_ends_with_its_time_and_goes_on(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "ROWS", 2)
    artifacts = [AnArtifact(0, None, 150, 3) for _ in range(6)]
    store(connection, History(RetentionPolicy(), [None], [ARun(None, 0, dated=True, pinned=False)], [], artifacts, []))
    found = policies.Policies(RetentionPolicy(), {})
    parts = [retention.prune(Batches(connection, budget=0), found, (Kind.ARTIFACTS,), BASE) for _ in range(4)]
    assert [part.artifacts.gone for part in parts] == [2, 2, 2, 0]
    assert [part.complete for part in parts] == [False, False, False, True]
    assert [part.disk > 0 for part in parts] == [True, False, False, False]


def test_a_retention_of_a_hundred_years_deletes_nothing(connection: sa.Connection) -> None:
    artifacts = [AnArtifact(0, None, 700, 3)]
    store(connection, History(RetentionPolicy(), [None], [ARun(None, 0, dated=True, pinned=False)], [], artifacts, []))
    found = policies.Policies(RetentionPolicy(1198, 1199, 1200), {})
    assert retention.prune(Batches(connection), found, Kind, BASE).rows == 0


@pytest.mark.parametrize("statement", [sql.AGES, partitions_sql.staying(sql.KEPT_ARTIFACTS)], ids=["ages", "staying"])
def test_many_that_stay_are_not_looked_through_for_each_artifact(
    connection: sa.Connection, statement: sa.TextClause
) -> None:
    """A plan's SubPlan that has no room for a hash table takes hours for a month of a million artifacts."""
    artifacts = [AnArtifact(0, None, 300, 0) for _ in range(2000)]
    store(connection, History(RetentionPolicy(), [None], [ARun(None, 0, dated=True, pinned=True)], [], artifacts, []))
    values = {"projects": [], "cutoffs": [], "cutoff": BASE, "lower": uuid.UUID(int=0), "upper": uuid.UUID(int=2**127)}
    with connection.begin():
        connection.execute(sa.text("ANALYZE artifacts"))
        connection.execute(sa.text("SET LOCAL work_mem = '64kB'"))
        plan = connection.scalars(sa.text(f"EXPLAIN {statement.text}"), values).all()
    assert not [line for line in plan if "SubPlan" in line]
