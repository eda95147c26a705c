"""The ledger of maintenance, on a real PostgreSQL: who gets a slot, what is taken over, and what is forgotten."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from ibutsu_core.schedule import Known
from ibutsu_core.slots import Slot
from ibutsu_server.store import ledger
from ibutsu_server.store.ledger import Ledger, Message, TakenError, claimed
from ibutsu_server.store.models import Maintenance

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
SLOT = Slot("prune", NOW - dt.timedelta(hours=1), NOW)
EARLIER = Slot("prune", NOW - dt.timedelta(hours=2), NOW)


def message(slot: Slot | None = SLOT, *, task_id: str | None = None, worker: str = "one") -> Message:
    return Message("a.task", task_id or str(uuid.uuid4()), worker, slot)


def rows(session: Session) -> list[tuple[Any, ...]]:
    """Return the slots with what became of them, the earliest first."""
    session.rollback()
    query = sa.select(Maintenance.slot, Maintenance.status, Maintenance.worker, Maintenance.attempts)
    return [tuple(row) for row in session.execute(query.order_by(Maintenance.slot))]


def age(session: Session, **values: Any) -> None:
    session.execute(sa.update(Maintenance).values(**values))
    session.commit()


def lose(engine: sa.Engine, sent: Message) -> None:
    """Begin, and end without a word: the lock goes with the connection."""
    with claimed(engine, sent):
        pass


def test_a_slot_is_done_once_and_a_second_message_says_by_whom(engine: sa.Engine, session: Session) -> None:
    with claimed(engine, message(worker="one")) as claim:
        with pytest.raises(TakenError, match="one is at it since"), claimed(engine, message(worker="two")):
            raise AssertionError("It is taken.")
        claim.finish({"runs": 3, "bytes": 10, "seconds": 0.5, "cutoff": "2026", "done": True})
    with pytest.raises(TakenError, match=r"one did it, from .* to "), claimed(engine, message(worker="two")):
        raise AssertionError("It is taken.")
    assert rows(session) == [(SLOT.due, "done", "one", 1)]
    row = session.scalars(sa.select(Maintenance)).one()
    assert (row.entry, row.sent, row.counts, row.bytes) == ("prune", SLOT.sent, {"runs": 3, "seconds": 0.5}, 10)


def test_of_many_messages_at_once_one_gets_the_slot(engine: sa.Engine, session: Session) -> None:
    begun, taken, together = [], [], threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        try:
            with claimed(engine, message(worker=str(number))) as claim:
                begun.append(number)
                claim.finish({})
        except TakenError as error:
            taken.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1
    assert len(taken) == 7
    assert rows(session) == [(SLOT.due, "done", str(begun[0]), 1)]


@pytest.mark.parametrize("slot", [SLOT, None])
def test_what_has_lost_its_worker_is_taken_over_by_the_message_that_comes_again(
    engine: sa.Engine, session: Session, slot: Slot | None
) -> None:
    sent = message(slot)
    lose(engine, sent)
    with claimed(engine, Message(sent.task, sent.task_id, "two", slot)) as claim:
        row = session.scalars(sa.select(Maintenance)).one()
        assert (row.status, row.worker, row.attempts, row.error) == ("running", "two", 2, ledger.LOST)
        claim.finish({})
    assert rows(session) == [(slot and slot.due, "done", "two", 2)]
    session.expire_all()
    assert session.scalars(sa.select(Maintenance.error)).one() is None


def test_a_lock_that_outlives_its_worker_for_a_moment_is_waited_for(engine: sa.Engine) -> None:
    sent, entered, leave = message(), threading.Event(), threading.Event()

    def hold() -> None:
        with claimed(engine, sent):
            entered.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(60)
    threading.Timer(0.5, leave.set).start()
    with claimed(engine, sent) as claim:
        claim.finish({})
    holder.join()


def test_who_lost_the_slot_without_noticing_does_not_speak_for_who_has_it(engine: sa.Engine, session: Session) -> None:
    with claimed(engine, message()) as old:
        pass
    with claimed(engine, message(worker="two")) as new:
        old.fail("I think that I have it.")
        new.finish({"runs": 1})
    assert rows(session) == [(SLOT.due, "done", "two", 2)]


def test_a_failure_is_kept_and_one_that_is_tried_again_waits(engine: sa.Engine, session: Session) -> None:
    with claimed(engine, message()) as claim:
        claim.wait("The database was away.")
    assert rows(session) == [(SLOT.due, "waiting", None, 1)]
    with claimed(engine, message()) as claim:
        assert session.scalars(sa.select(Maintenance.error)).one() == "The database was away."
        claim.fail("It is broken.")
    assert rows(session) == [(SLOT.due, "error", "one", 2)]


def test_the_parts_of_a_slot_add_up_and_do_not_count_as_vain(engine: sa.Engine, session: Session) -> None:
    for part in range(ledger.MAX_ATTEMPTS + 5):
        with claimed(engine, message(worker=f"{part}")) as claim:
            claim.leave({"runs": 2, "bytes": 10, "complete": False})
        assert rows(session) == [(SLOT.due, "waiting", None, part + 1)]
    with claimed(engine, message()) as claim:
        claim.finish({"runs": 1, "results": 7})
    row = session.scalars(sa.select(Maintenance)).one()
    assert (row.status, row.error, row.parts, row.counts, row.bytes) == (
        "done", None, 25, {"runs": 51, "results": 7}, 250,
    )  # fmt: skip


def test_what_never_ends_is_given_up(engine: sa.Engine, session: Session) -> None:
    lose(engine, message())
    age(session, attempts=ledger.MAX_ATTEMPTS)
    with pytest.raises(ledger.EndlessError, match="begun 20 times"), claimed(engine, message()):
        raise AssertionError("It is given up.")
    assert rows(session) == [(SLOT.due, "error", "one", 20)]
    with pytest.raises(TakenError, match="failed"), claimed(engine, message()):
        raise AssertionError("It has ended.")


def test_a_slot_that_was_lost_ends_when_a_newer_one_begins_but_one_that_runs_does_not(
    engine: sa.Engine, session: Session
) -> None:
    lose(engine, message(EARLIER))
    running = Slot("prune", EARLIER.due - dt.timedelta(hours=1), NOW)
    with claimed(engine, message(running)) as still, claimed(engine, message()) as claim:
        claim.finish({})
        still.finish({})
    assert [row[1] for row in rows(session)] == ["done", "error", "done"]
    assert session.scalars(sa.select(Maintenance.error).where(Maintenance.slot == EARLIER.due)).one() == ledger.LOST


def test_a_new_entry_has_missed_nothing_and_its_next_slot_is_known(engine: sa.Engine, session: Session) -> None:
    due = {"prune": ("a.task", SLOT.due)}
    assert Ledger(engine).known(due) == Ledger(engine).known(due) == {"prune": Known(SLOT.due)}
    assert rows(session) == [(SLOT.due, "skipped", None, 0)]
    later = {"prune": ("a.task", NOW), "other": ("b.task", EARLIER.due)}
    assert Ledger(engine).known(later) == {"prune": Known(SLOT.due), "other": Known(EARLIER.due)}
    # A scheduler that did send the slot, when the ledger could not be asked, is right.
    with claimed(engine, message()) as claim:
        claim.finish({})
    assert ("done", "one", 1) in [row[1:] for row in rows(session)]


def test_a_slot_is_known_as_lost_once_it_has_had_time_to_be_taken_over(engine: sa.Engine, session: Session) -> None:
    due = {"prune": ("a.task", SLOT.due)}

    def lost() -> bool:
        return Ledger(engine).known(due)["prune"].lost

    with claimed(engine, message()) as claim:
        age(session, started=NOW - dt.timedelta(hours=3))
        assert not lost(), "Its worker is at it."
    assert lost()
    age(session, started=dt.datetime.now(dt.UTC))
    assert not lost(), "Its message may come again at once."
    claim.wait("The database was away.")
    age(session, started=NOW - dt.timedelta(hours=1))
    assert not lost(), "It waits for its retry."
    age(session, started=NOW - dt.timedelta(hours=3))
    assert lost()
    claim.finish({})
    assert not lost()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 800), st.booleans()), max_size=12))
def test_old_rows_go_but_for_each_entrys_newest_slot_and_its_last_success(
    session: Session, history: list[tuple[str | None, int, bool]]
) -> None:
    session.execute(sa.delete(Maintenance))
    unique = {(entry, days): works for entry, days, works in history}
    for (entry, days), works in unique.items():
        then = NOW - dt.timedelta(days=days)
        session.add(
            Maintenance(
                entry=entry, task="a.task", task_id=str(uuid.uuid4()), slot=then if entry else None, started=then,
                finished=then, worker="one", error=None if works else "no",
            )
        )  # fmt: skip
    session.flush()
    ledger.forget(session)

    def stays(entry: str | None, days: int, works: bool) -> bool:
        of_entry = [(other, fine) for (name, other), fine in unique.items() if name == entry]
        newest = entry is not None and days == min(other for other, _ in of_entry)
        last = entry is not None and works and days == min(other for other, fine in of_entry if fine)
        return days < 366 or newest or last

    kept = session.execute(sa.select(Maintenance.entry, Maintenance.started)).all()
    expected = [(entry, NOW - dt.timedelta(days=days)) for (entry, days), works in unique.items()
                if stays(entry, days, works)]  # fmt: skip
    assert sorted(map(str, map(tuple, kept))) == sorted(map(str, expected))
    successes = ledger.last_successes(session)
    assert successes == {
        name: NOW - dt.timedelta(days=min(days for (entry, days), works in unique.items() if entry == name and works))
        for name in {entry for (entry, _), works in unique.items() if works and entry}
    }
    session.rollback()
