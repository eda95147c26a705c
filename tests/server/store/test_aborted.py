"""Runs whose client went away are marked, and no others, until what they lack comes after all."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import aborted, summary
from ibutsu_server.store.models import Result, Run


def add(session: Session, *, collected: Any, ages: tuple[float, ...], run_age: float, **data: Any) -> uuid.UUID:
    """Store a run with results; ages are in hours."""
    run = Run(id=uuid.uuid4(), created=ago(run_age), summary={"collected": collected}, data=data)
    session.add(run)
    session.flush()
    for age in ages:
        session.add(Result(id=uuid.uuid4(), run_id=run.id, test_id="t", result="passed", created=ago(age), data={}))
    session.flush()
    summary.update_run(session, run.id)
    session.commit()
    return run.id


def ago(hours: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)


def mark(session: Session) -> int:
    marked = aborted.mark(session, hours=48, quiet_minutes=60)
    session.commit()
    return marked


def marked(session: Session) -> set[uuid.UUID]:
    return set(session.scalars(sa.select(Run.id).where(Run.data.contains({aborted.MARK: True}))))


def test_only_a_run_that_lacks_results_and_has_been_quiet_is_marked(session: Session) -> None:
    gone = add(session, collected=3, ages=(5, 4), run_age=5, branch="main")
    early = add(session, collected=3, ages=(), run_age=2)
    add(session, collected=3, ages=(5, 0.5), run_age=5)  # still at it
    add(session, collected=3, ages=(), run_age=0.5)  # has just begun
    add(session, collected=2, ages=(5, 4), run_age=5)  # whole
    add(session, collected=None, ages=(5, 4), run_age=5)  # said nothing
    add(session, collected=3, ages=(50,), run_age=60)  # long ago
    assert mark(session) == 2
    assert marked(session) == {gone, early}
    assert session.get_one(Run, gone).data == {"branch": "main", "aborted": True}
    assert mark(session) == 0


def test_the_mark_goes_when_what_was_missing_comes(session: Session) -> None:
    run_id = add(session, collected=2, ages=(5,), run_age=5)
    assert mark(session) == 1
    session.add(Result(id=uuid.uuid4(), run_id=run_id, test_id="t", result="failed", data={}))
    session.flush()
    summary.update_run(session, run_id)
    session.commit()
    assert mark(session) == 0
    assert marked(session) == set()


def test_a_run_in_use_is_left_until_the_next_time(engine: sa.Engine, session: Session) -> None:
    run_id = add(session, collected=2, ages=(5,), run_age=5)
    with Session(engine) as other:
        other.scalars(sa.select(Run).where(Run.id == run_id).with_for_update()).one()
        assert mark(session) == 0
    assert mark(session) == 1
