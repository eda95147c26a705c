"""What must stay of an old month, where it is much: it is copied, within the time there is, or nothing is done."""

from __future__ import annotations

import os
import uuid
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from ibutsu_core.retention import Kind, RetentionPolicy
from ibutsu_server.store import artifacts, partition_content, partitions, retention
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.models import Artifact, Run
from ibutsu_server.store.partitions import Dropped, ManyStay
from ibutsu_server.store.policies import Policies
from ibutsu_server.store.pruned import Pruned
from partitioned import CUTOFF, NOW, OLD, content, drop, ids, made, upload, where


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
