"""The partitions of artifacts' content: made ahead, emptied and dropped, while others upload, read and delete."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from freezegun import freeze_time
from sqlalchemy import exc
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import artifacts, migrate, partition_content, partitions
from ibutsu_server.store.models import Artifact, ArtifactChunk, Run
from ibutsu_server.store.partitions import Dropped
from partitioned import CUTOFF, NOW, OLD, STAYING, content, drop, ids, made, names, upload, where


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
