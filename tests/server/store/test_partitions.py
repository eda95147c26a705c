"""The partitions of artifacts' content: made ahead, emptied and dropped, while others upload, read and delete."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from alembic import command
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from ibutsu_core.retention import Kind, RetentionPolicy
from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import artifacts, migrate, partition_content, partitions, retention
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.models import Artifact, ArtifactChunk, Run
from ibutsu_server.store.partitions import Dropped, ManyStay
from ibutsu_server.store.policies import Policies
from ibutsu_server.store.pruned import Pruned

NOW = dt.datetime.now(dt.UTC)
OLD = dt.datetime(2020, 5, 15, 12, tzinfo=dt.UTC)
CUTOFF = dt.datetime(2020, 6, 1, tzinfo=dt.UTC)
STAYING = "SELECT unnest(CAST(:staying AS uuid[]))"


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    with Session(engine, expire_on_commit=False) as session:
        yield session


@pytest.fixture
def run(session: Session) -> Run:
    run = Run(id=uuid.uuid4(), data={})
    session.add(run)
    session.commit()
    return run


def made(instant: dt.datetime) -> uuid.UUID:
    """Make an id as the server does at that instant."""
    return uuid.UUID(bytes=uuid7(nanoseconds=int(instant.timestamp()) * 10**9).bytes)


def upload(session: Session, run: Run, when: dt.datetime, *pieces: bytes) -> uuid.UUID:
    """Store an artifact of these chunks as it would have been at that instant."""
    artifact = Artifact(
        id=made(when), run_id=run.id, filename="a.log", upload_date=when, size=sum(len(piece) for piece in pieces)
    )
    session.add(artifact)
    session.flush()
    rows = [ArtifactChunk(artifact_id=artifact.id, position=n, data=piece) for n, piece in enumerate(pieces)]
    session.add_all(rows)
    session.commit()
    return artifact.id


def content(session: Session, artifact_id: uuid.UUID) -> bytes:
    with session.begin():
        return b"".join(artifacts.chunks_of(session, artifact_id))


def where(session: Session, artifact_id: uuid.UUID) -> str | None:
    """Return the name of the partition that has the artifact's content."""
    query = "SELECT DISTINCT tableoid::regclass::text FROM artifact_chunks WHERE artifact_id = :id"
    with session.begin():
        return session.scalar(sa.text(query), {"id": artifact_id})


def ids(session: Session) -> set[uuid.UUID]:
    with session.begin():
        return set(session.scalars(sa.select(Artifact.id)))


def drop(connection: sa.Connection, *staying: uuid.UUID, **options: Any) -> list[Dropped | ManyStay]:
    return [
        partitions.drop(connection, one, kept=STAYING, parameters={"staying": list(staying)}, **options)
        for one in partitions.expired(connection, CUTOFF)
    ]


def names(connection: sa.Connection) -> list[str]:
    return [one.name for one in partitions.existing(connection)]


def test_an_id_alone_finds_its_content_by_one_index_of_one_partition(session: Session) -> None:
    query = f"EXPLAIN (COSTS OFF) SELECT data FROM artifact_chunks WHERE artifact_id = '{made(NOW)}' AND position = 0"
    # A table as small as this one would be read as a whole, once it was analysed.
    session.execute(sa.text("SET LOCAL enable_seqscan = off"))
    plan = session.scalars(sa.text(query)).all()
    name = f"artifact_chunks_{NOW:%Y_%m}"
    assert plan[0] == f"Index Scan using {name}_pkey on {name} artifact_chunks"
    assert len(plan) == 2


def test_each_month_has_its_partition_before_it_begins(session: Session, connection: sa.Connection, run: Run) -> None:
    with freeze_time("2031-01-31 23:59:59") as clock:
        assert partitions.ensure(connection, dt.datetime.now(dt.UTC), 2) == [
            "artifact_chunks_2031_01", "artifact_chunks_2031_02", "artifact_chunks_2031_03",
        ]  # fmt: skip
        for month in range(4, 9):
            clock.tick(dt.timedelta(days=28))
            now = dt.datetime.now(dt.UTC)
            one = upload(session, run, now, b"log")
            assert where(session, one) == f"artifact_chunks_{now:%Y_%m}"
            assert partitions.ensure(connection, now, 2) == [f"artifact_chunks_2031_{month:02}"]
            assert partitions.ensure(connection, now, 2) == []
    bounds = [one.bounds for one in partitions.existing(connection) if "_2031_" in one.name]
    assert all(one.upper == after.lower for one, after in pairwise(bounds))


def test_a_missing_partition_loses_nothing(session: Session, connection: sa.Connection, run: Run) -> None:
    first = upload(session, run, OLD, b"one", b"two")
    assert where(session, first) == "artifact_chunks_default"
    other = upload(session, run, OLD + dt.timedelta(days=31), b"other")
    assert partitions.ensure(connection, OLD, 0) == ["artifact_chunks_2020_05"]
    assert where(session, first) == "artifact_chunks_2020_05"
    assert where(session, other) == "artifact_chunks_default"
    assert content(session, first) == b"onetwo"
    with pytest.raises(exc.IntegrityError):
        session.add(ArtifactChunk(artifact_id=first, position=0, data=b"again"))
        session.commit()
    session.rollback()
    with pytest.raises(exc.IntegrityError):
        session.add(ArtifactChunk(artifact_id=made(OLD), position=0, data=b"of nothing"))
        session.commit()
    session.rollback()
    session.execute(sa.delete(Run).where(Run.id == run.id))
    session.commit()
    assert session.scalar(sa.select(sa.func.count()).select_from(ArtifactChunk)) == 0


def test_a_month_whose_partition_somebody_detached_gets_another_one(
    session: Session, connection: sa.Connection, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    for suffix in ("", "_2", "_3"):
        with caplog.at_level("WARNING"):
            name = f"artifact_chunks_2020_05{suffix}"
            assert partitions.ensure(connection, OLD, 0) == [name]
        assert partitions.ensure(connection, OLD, 0) == []
        one = upload(session, run, OLD, b"one")
        assert where(session, one) == name
        session.execute(sa.text(f"ALTER TABLE artifact_chunks DETACH PARTITION {name}"))
        session.commit()
        assert content(session, one) == b""
    assert caplog.messages[-1] == (
        "There is a table artifact_chunks_2020_05 that is no partition of artifact_chunks any more: the content in it "
        "is missed. The new partition of its month is artifact_chunks_2020_05_3."
    )


def test_much_that_came_without_a_partition_stays_where_it_is(
    session: Session, connection: sa.Connection, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "FEW_BYTES", 5)
    first = upload(session, run, OLD, b"six by")
    assert partitions.ensure(connection, OLD, 1) == ["artifact_chunks_2020_05", "artifact_chunks_2020_06"]
    next_day = upload(session, run, OLD + dt.timedelta(days=1), b"next")
    assert where(session, first) == "artifact_chunks_default"
    assert where(session, next_day) == "artifact_chunks_2020_05"
    assert partitions.ensure(connection, OLD, 1) == []


def test_dropping_a_partition_gives_its_disk_back(
    session: Session, connection: sa.Connection, run: Run, server_directory: Path
) -> None:
    partitions.ensure(connection, OLD, 0)
    sizes = [3_000_000, 2_000_000, 0]
    for size in sizes:
        upload(session, run, OLD, *[os.urandom(500_000)] * (size // 500_000))
    young = upload(session, run, CUTOFF, b"young")

    def disk() -> int:
        files = (server_directory / "postgres" / "data" / "base").rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())

    def tables() -> Any:
        query = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('artifact_chunks')"
        with session.begin():
            return session.scalar(sa.text(query))

    before = disk(), tables()
    (dropped,) = drop(connection)
    assert isinstance(dropped, Dropped)
    assert (dropped.artifacts, dropped.bytes, dropped.kept, dropped.complete) == (3, sum(sizes), 0, True)
    assert dropped.disk > sum(sizes)
    assert before[0] - disk() > 0.95 * sum(sizes)
    assert before[1] - tables() >= dropped.disk
    assert ids(session) == {young}
    assert "artifact_chunks_2020_05" not in names(connection)


def test_what_must_stay_stays_and_goes_when_it_may(session: Session, connection: sa.Connection, run: Run) -> None:
    partitions.ensure(connection, OLD, 0)
    stays = upload(session, run, OLD, b"pinned", b"and long")
    empty_stays, empty_goes = upload(session, run, OLD), upload(session, run, OLD)
    goes = upload(session, run, OLD, b"gone")
    (dropped,) = drop(connection, stays, empty_stays)
    assert dropped == Dropped(artifacts=2, bytes=4, disk=dropped.disk, kept=2, complete=True)
    assert ids(session) == {stays, empty_stays}
    assert empty_goes not in ids(session)
    assert content(session, stays) == b"pinnedand long"
    assert content(session, goes) == b""
    assert drop(connection, stays, empty_stays) == [Dropped(kept=2, complete=True)]
    (dropped,) = drop(connection)
    assert dropped == Dropped(artifacts=2, bytes=14, disk=dropped.disk, complete=True)
    assert drop(connection) == []


def test_where_more_must_stay_than_goes_nothing_is_done(session: Session, connection: sa.Connection, run: Run) -> None:
    partitions.ensure(connection, OLD, 0)
    stays, also, other = (upload(session, run, OLD, b"12345678") for _ in range(3))
    assert drop(connection, stays, also, few=7) == [ManyStay(artifacts=2, bytes=16)]
    assert ids(session) == {stays, also, other}
    assert content(session, other) == b"12345678"


def test_much_that_must_stay_is_copied_and_the_copy_takes_the_place(
    session: Session, connection: sa.Connection, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_content, "COPIED", 2)
    partitions.ensure(connection, OLD, 0)
    stay = {upload(session, run, OLD, data, b"!"): data + b"!" for data in (os.urandom(100_000) for _ in range(5))}
    for _ in range(8):
        upload(session, run, OLD, os.urandom(100_000))
    bounds = partitions.expired(connection, CUTOFF)
    (dropped,) = drop(connection, *stay, few=1000)
    assert isinstance(dropped, Dropped)
    assert (dropped.artifacts, dropped.bytes, dropped.kept, dropped.complete) == (8, 800_000, 5, True)
    assert dropped.disk > 800_000
    assert partitions.expired(connection, CUTOFF) == bounds
    assert {one: content(session, one) for one in ids(session)} == stay
    assert {where(session, one) for one in stay} == {"artifact_chunks_2020_05"}
    assert drop(connection, *stay, few=1000) == [ManyStay(artifacts=5, bytes=500_005)]
    session.execute(sa.delete(Artifact).where(Artifact.id == min(stay)))
    session.commit()
    assert content(session, min(stay)) == b""
    (dropped,) = drop(connection, min(stay))
    assert isinstance(dropped, Dropped)
    assert (dropped.artifacts, dropped.kept, dropped.complete) == (4, 0, True)


class OutOfTimeError(Exception):
    """What ends a call."""


def test_a_copy_that_ran_out_of_time_is_gone_on_with(
    session: Session, connection: sa.Connection, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_content, "COPIED", 2)
    partitions.ensure(connection, OLD, 0)
    stay = {upload(session, run, OLD, data): data for data in map(os.urandom, [100] * 5 + [0])}
    gone = [upload(session, run, OLD, os.urandom(1000)) for _ in range(2)]
    copied: list[int] = []

    def check() -> None:
        with session.begin():
            copied.append(session.scalar(sa.text("SELECT count(*) FROM artifact_chunks_2020_05_kept")) or 0)
        if len(copied) < 3:
            raise OutOfTimeError

    for _ in range(2):
        with pytest.raises(OutOfTimeError):
            drop(connection, *stay, few=100, check=check)
        assert {one: content(session, one) for one in stay} == stay
    (dropped,) = drop(connection, *stay, few=100, check=check)
    assert isinstance(dropped, Dropped)
    assert copied == [2, 4, 5]
    assert (dropped.artifacts, dropped.kept, dropped.complete) == (2, 6, True)
    assert {one: content(session, one) for one in ids(session)} == stay
    assert not set(gone) & ids(session)


def test_pruning_that_copies_ends_with_its_budget_too(
    session: Session, connection: sa.Connection, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_content, "COPIED", 2)
    partitions.ensure(connection, OLD, 0)
    data = os.urandom(500_000)
    gone = [upload(session, run, OLD, data) for _ in range(12)]
    pinned = Run(id=uuid.uuid4(), pinned=True)
    session.add(pinned)
    session.commit()
    stay = {upload(session, pinned, OLD, data) for _ in range(10)}

    def prune() -> Pruned:
        batches = Batches(connection, budget=0.0)
        return retention.prune(batches, Policies(RetentionPolicy(), {}), [Kind.ARTIFACTS], NOW)

    for _ in range(4):
        pruned = prune()
        assert (pruned.complete, pruned.artifacts.gone, pruned.disk) == (False, 0, 0)
    assert ids(session) == {*stay, *gone}
    disk = 0
    while not (pruned := prune()).complete:
        disk += pruned.disk
    assert disk > 5_000_000
    assert ids(session) == stay
    assert all(content(session, one) == data for one in stay)


class Stored(NamedTuple):
    """What stays, as the statement gives it."""

    id: uuid.UUID
    size: int


@given(
    st.lists(
        st.builds(Stored, st.uuids(), st.integers(0, 3 * partition_content.COPIED_BYTES)),
        max_size=200,
        unique_by=lambda one: one.id,
    )
)
def test_a_piece_of_a_copy_is_bounded(left: list[Stored]) -> None:
    pieces = list(partition_content.pieces(left))
    assert [one for piece in pieces for one in piece] == [one.id for one in left]
    sizes = dict(left)
    for piece in pieces:
        assert 1 <= len(piece) <= partition_content.COPIED
        assert len(piece) == 1 or sum(map(sizes.__getitem__, piece)) <= partition_content.COPIED_BYTES


def test_a_copy_that_is_not_needed_any_more_goes(
    session: Session, connection: sa.Connection, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_content, "ATTEMPTS", 2)

    def check() -> None:
        raise OutOfTimeError

    for staying, few in ((2, 7), (0, 7), (1, 8)):
        partitions.ensure(connection, OLD, 0)
        one, *others = (upload(session, run, OLD, b"12345678") for _ in range(2))
        stay = [one, *others][:staying]
        with pytest.raises(OutOfTimeError):
            drop(connection, one, few=7, check=check)
        with session.begin():
            session.execute(sa.text("LOCK TABLE artifact_chunks_2020_05_kept IN ACCESS SHARE MODE"))
            (waits,) = drop(connection, *stay, few=few)
            assert waits == Dropped(kept=len(stay))
        drop(connection, *stay, few=few)
        with session.begin():
            assert session.scalar(sa.text("SELECT to_regclass('artifact_chunks_2020_05_kept')")) is None
        drop(connection)
        assert ids(session) == set()


def test_what_is_pinned_while_the_rest_is_copied_is_copied_too(
    session: Session, connection: sa.Connection, engine: sa.Engine, run: Run
) -> None:
    partitions.ensure(connection, OLD, 0)
    pinned, late, _, _ = stored = [upload(session, run, OLD, b"12345678") for _ in range(4)]
    pin = sa.update(Artifact).values(filename="pinned")
    session.execute(pin.where(Artifact.id == pinned))
    session.commit()

    @sa.event.listens_for(engine, "after_cursor_execute")
    def copied(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO artifact_chunks_2020_05_kept"):
            session.execute(pin.where(Artifact.id == late))
            session.commit()

    kept = "SELECT id FROM artifacts WHERE filename = 'pinned'"
    (month,) = partitions.expired(connection, CUTOFF)
    dropped = partitions.drop(connection, month, kept=kept, parameters={}, few=7)
    assert isinstance(dropped, Dropped)
    assert (dropped.artifacts, dropped.complete) == (2, True)
    assert ids(session) == {pinned, late}
    assert [content(session, one) for one in stored] == [b"12345678", b"12345678", b"", b""]


@pytest.mark.parametrize("what", ["an artifact", "the partition"])
def test_what_others_hold_is_left_to_the_next_call(
    session: Session, connection: sa.Connection, run: Run, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(partition_content, "ATTEMPTS", 2)
    partitions.ensure(connection, OLD, 0)
    held, _ = (upload(session, run, OLD, b"goes") for _ in range(2))

    def hold(dropped: Dropped) -> None:
        if not dropped.artifacts:
            if what == "an artifact":
                session.get_one(Artifact, held, with_for_update=True)
            else:
                session.execute(sa.text("LOCK TABLE artifact_chunks_2020_05 IN SHARE MODE"))

    (dropped,) = drop(connection, tell=hold)
    assert isinstance(dropped, Dropped)
    assert (dropped.artifacts, dropped.complete) == (1 if what == "an artifact" else 0, False)
    session.rollback()
    (completed,) = drop(connection)
    assert isinstance(completed, Dropped)
    assert (completed.artifacts, completed.complete) == (2 - dropped.artifacts, True)
    assert ids(session) == set()


def test_a_copy_takes_no_place_while_an_import_writes_and_leaves_nothing_behind(
    session: Session, connection: sa.Connection, engine: sa.Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_content, "ATTEMPTS", 2)
    partitions.ensure(connection, OLD, 0)
    stays, goes = (upload(session, run, OLD, b"12345678") for _ in range(2))
    with Session(engine) as importing:
        artifacts.write(importing, [b"first"], filename="a.log", run_id=run.id)
        assert drop(connection, stays, few=7) == [ManyStay(artifacts=1, bytes=8)]
    assert ids(session) == {stays, goes}
    with session.begin():
        assert session.scalar(sa.text("SELECT to_regclass('artifact_chunks_2020_05_kept')")) is None


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_drop_that_is_killed_is_completed_by_the_next(
    session: Session, engine: sa.Engine, run: Run, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(partitions, "ROWS", 2)
    told: list[Dropped] = []
    with engine.connect() as connection:
        partitions.ensure(connection, OLD, 0)
        stays = upload(session, run, OLD, b"stays")
        gone = [upload(session, run, OLD, b"goes") for _ in range(5)]
        connection.rollback()
        process = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.rollback()

        def tell(_dropped: Dropped) -> None:
            told.append(_dropped)
            if len(told) > steps:
                session.execute(sa.text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
                session.commit()

        with pytest.raises(exc.OperationalError):
            drop(connection, stays, tell=tell)
    (interrupted,) = {id(one): one for one in told}.values()
    for one in gone:
        assert content(session, one) == b""
    assert content(session, stays) == b"stays"
    with engine.connect() as connection:
        (completed,) = drop(connection, stays)
        assert isinstance(completed, Dropped)
        assert completed.complete
        assert interrupted.artifacts + completed.artifacts == 5
        assert ids(session) == {stays}
        (last,) = drop(connection)
        assert isinstance(last, Dropped)
        assert (last.artifacts, last.bytes, last.complete) == (1, 5, True)


def test_while_an_import_writes_the_disk_comes_back_and_the_import_does_not_wait(
    session: Session, connection: sa.Connection, engine: sa.Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_content, "ATTEMPTS", 2)
    partitions.ensure(connection, OLD, 0)
    upload(session, run, OLD, os.urandom(500_000))
    with Session(engine) as importing:
        artifacts.write(importing, [b"first"], filename="a.log", run_id=run.id)
        (dropped,) = drop(connection)
        assert isinstance(dropped, Dropped)
        assert (dropped.artifacts, dropped.complete) == (1, False)
        assert dropped.disk > 500_000
        assert partitions.ensure(connection, NOW, 6) == []
        assert "artifact_chunks_2020_05" in names(connection)
        second = artifacts.write(importing, [b"second"], filename="b.log", run_id=run.id).id
        importing.commit()
    assert drop(connection) == [Dropped(complete=True)]
    assert len(partitions.ensure(connection, NOW, 6)) == 3
    assert content(session, second) == b"second"


def test_uploads_beside_the_making_and_dropping_of_partitions_are_all_there(
    session: Session, connection: sa.Connection, engine: sa.Engine, run: Run
) -> None:
    done = threading.Event()
    stored: list[tuple[uuid.UUID, bytes]] = []
    problems: list[BaseException] = []

    def uploading() -> None:
        try:
            with Session(engine) as mine:
                while not done.wait(0.01):
                    # Into months that have a partition, do not have one yet, or are just getting one.
                    for month in range(3):
                        data = os.urandom(20)
                        then = OLD + dt.timedelta(days=31 * month)
                        stored.append((upload(mine, run, then, data, data), data + data))
                    mine.execute(sa.delete(Artifact).where(Artifact.id == stored.pop()[0]))
                    mine.commit()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            problems.append(error)

    threads = [threading.Thread(target=uploading) for _ in range(2)]
    for thread in threads:
        thread.start()
    before = OLD - dt.timedelta(days=90)
    for _ in range(2):
        partitions.ensure(connection, before, 0)
        old = upload(session, run, before, b"old")
        everything = [one for one in partitions.existing(connection) if one.name == f"artifact_chunks_{before:%Y_%m}"]
        for one in everything:
            partitions.drop(connection, one, kept=STAYING, parameters={"staying": []})
        assert old not in ids(session)
        partitions.ensure(connection, OLD, 1)
    while len(stored) <= 5 and not problems:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    partitions.ensure(connection, OLD, 1)
    assert problems == []
    assert len(stored) > 5
    assert all(content(session, one) == data for one, data in stored)
    assert {one for one, _ in stored} == ids(session)
    assert "artifact_chunks_2020_05" in names(connection)


def test_what_was_stored_before_becomes_the_oldest_partition(database: DatabaseSettings, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")
    then = [NOW - dt.timedelta(days=400), NOW, NOW + dt.timedelta(days=400)]
    with Session(engine) as session:
        run = Run(id=uuid.uuid4())
        # The model has columns that came later.
        session.execute(sa.text("INSERT INTO runs (id) VALUES (:id)"), {"id": run.id})
        session.commit()
        stored = [upload(session, run, one, str(one).encode(), b"!") for one in then]
    migrate.upgrade(database)
    with Session(engine) as session, engine.connect() as connection:
        first, *others = partitions.existing(connection)
        assert first.name.startswith("artifact_chunks_before_")
        assert [where(session, one) for one in stored] == [first.name, first.name, "artifact_chunks_default"]
        assert [content(session, one) for one in stored] == [str(one).encode() + b"!" for one in then]
        assert len(others) == partitions.MONTHS_AHEAD
        assert others[0].bounds.lower == first.bounds.upper
        assert not first.bounds.expired(NOW)
        session.rollback()
        dropped = partitions.drop(connection, first, kept=STAYING, parameters={"staying": []})
        assert isinstance(dropped, Dropped)
        assert (dropped.artifacts, dropped.complete) == (2, True)
        assert ids(session) == {stored[2]}
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")
    with Session(engine) as session:
        assert content(session, stored[2]) == str(then[2]).encode() + b"!"


def test_many_small_ones_that_stay_are_not_looked_through_for_each_piece(connection: sa.Connection, run: Run) -> None:
    """Where nothing goes any more, each piece is found to stay: at once, and not after hours."""
    partitions.ensure(connection, OLD, months_ahead=0)
    many = sa.text("""
        WITH many AS (
            INSERT INTO artifacts (id, run_id, filename, size)
            SELECT CAST(left(:first, 24) || lpad(to_hex(number), 12, '0') AS uuid), :run, 'a.log', 1
            FROM generate_series(1, 60000) AS number RETURNING id
        )
        INSERT INTO artifact_chunks (artifact_id, position, data) SELECT id, 0, 'x' FROM many
    """)
    with connection.begin():
        connection.execute(many, {"first": str(made(OLD)), "run": run.id})
    with connection.begin():
        connection.execute(sa.text("ANALYZE artifacts, artifact_chunks"))
        # It took over a minute, and takes about a second; after a time-out nothing is complete.
        connection.execute(sa.text("SET statement_timeout = '20s'"))
    (one,) = partitions.expired(connection, CUTOFF)
    everything = "SELECT id FROM artifacts WHERE id >= :lower AND id < :upper"
    assert partitions.drop(connection, one, kept=everything, parameters={}) == Dropped(kept=60_000, complete=True)
