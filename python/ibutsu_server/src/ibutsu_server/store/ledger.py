"""The ledger of maintenance: who does which slot of a periodic task, and what became of it.

Whoever works on a row holds an advisory lock on a connection of its own, which goes with its process. A row that has
not ended and whose lock is free has lost its worker, and the next message for it takes it over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from ibutsu_core.schedule import Known
from ibutsu_core.slots import Slot
from ibutsu_server.store.models import Maintenance

MAX_ATTEMPTS = 20
"""Times that workers begin in vain with a slot before it is given up; more than a task has retries."""

PATIENCE = 5.0
"""Seconds that a message which comes again waits for the lock: PostgreSQL soon finds out that its worker is gone."""

LOST_AFTER = dt.timedelta(seconds=30)
RETRY_LOST_AFTER = dt.timedelta(hours=2)
"""How long after its beginning a slot that nobody works on counts as lost; the latter where a retry was announced, none
of which waits for longer than an hour."""

MESSAGE_LOST_AFTER = dt.timedelta(hours=13)
"""How long after its beginning no message comes again for a task without a slot: after Redis's visibility timeout."""

KEPT = dt.timedelta(days=366)
"""How long rows are kept; the newest slot and the last success of each entry stay for longer."""

FORGOTTEN = 1000
"""Old rows that are deleted at once, at most."""

LOST = "Its worker was lost (killed, or out of memory)."
NEW = "The entry was new; what was due before is not made up for."


class TakenError(Exception):
    """The message has nothing to do; the sentence says who did or does it."""


class EndlessError(Exception):
    """Too many workers began with the slot, and none ended."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A task's message as a worker has it: `worker` is the worker's name, `slot` is None where it was sent without."""

    task: str
    task_id: str
    worker: str
    slot: Slot | None = None


class Claim:
    """A row that this worker holds. Its outcome is told once."""

    def __init__(self, engine: sa.Engine, row_id: uuid.UUID, attempt: int) -> None:
        self._engine = engine
        # Who lost the lock without noticing does not speak for who has it.
        self._mine = (Maintenance.id == row_id, Maintenance.attempts == attempt, Maintenance.finished.is_(None))

    def finish(self, counts: Mapping[str, Any]) -> None:
        """Note what was done, beside what earlier parts did, and delete what the ledger has had for long enough."""
        with Session(self._engine) as session, session.begin():
            self._add(session, counts, finished=sa.func.clock_timestamp())
            forget(session)

    def leave(self, counts: Mapping[str, Any]) -> None:
        """Note what a part did; another message is to do the rest."""
        with Session(self._engine) as session, session.begin():
            self._add(session, counts, worker=None, parts=Maintenance.parts + 1)

    def fail(self, sentence: str) -> None:
        """Note that it failed for good."""
        with Session(self._engine) as session, session.begin():
            self._note(session, finished=sa.func.clock_timestamp(), error=sentence)

    def wait(self, sentence: str) -> None:
        """Note that it failed and is to be tried again."""
        with Session(self._engine) as session, session.begin():
            self._note(session, worker=None, error=sentence)

    def _add(self, session: Session, counts: Mapping[str, Any], **values: Any) -> None:
        query = sa.select(Maintenance.counts, Maintenance.bytes).where(*self._mine).with_for_update()
        for before, before_bytes in session.execute(query).all():
            numbers = {name: value for name, value in counts.items() if type(value) in (int, float)}
            size = numbers.pop("bytes", None)
            for name, value in (before or {}).items():
                numbers[name] = numbers.get(name, 0) + value
            if before_bytes is not None:
                size = (size or 0) + before_bytes
            self._note(session, error=None, counts=numbers, bytes=size, **values)

    def _note(self, session: Session, **values: Any) -> None:
        session.execute(sa.update(Maintenance).where(*self._mine).values(**values))


@contextlib.contextmanager
def claimed(engine: sa.Engine, message: Message) -> Iterator[Claim]:
    """Hold the message's row while the block runs.

    Raises TakenError where the row has ended or another worker is at it, and EndlessError.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(engine.connect())
        # Closed and not given back, the connection takes the lock along.
        connection.detach()
        session = stack.enter_context(Session(connection))
        stack.callback(_unlock, session)
        yield Claim(engine, *_claim(session, message))


def _claim(session: Session, message: Message) -> tuple[uuid.UUID, int]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            claim = _begin(session, message)
        except _BusyError as busy:
            session.rollback()
            # A second scheduler's message has an id of its own, and need not wait.
            if busy.task_id != message.task_id or time.monotonic() > deadline:
                raise TakenError(str(busy)) from busy
            time.sleep(0.2)
        else:
            return claim


class _BusyError(Exception):
    def __init__(self, row: Maintenance) -> None:
        super().__init__(f"{row.worker or 'A worker'} is at it since {_shown(row.started)}.")
        self.task_id = row.task_id


def _begin(session: Session, message: Message) -> tuple[uuid.UUID, int]:
    """Make the message's row, or take over one whose worker is gone; commits. Returns its id and its attempts."""
    slot = message.slot
    row_id = uuid.uuid4()
    values = {
        "task": message.task,
        "task_id": message.task_id,
        "sent": slot.sent if slot else None,
        "started": sa.func.clock_timestamp(),
        "worker": message.worker,
    }
    key = {"entry": slot.entry, "slot": slot.due} if slot else {}
    new = insert(Maintenance).values(id=row_id, attempts=1, **key, **values)
    # Another message's uncommitted row is waited for; whoever made it has its lock by then.
    if session.execute(new.on_conflict_do_nothing().returning(Maintenance.id)).scalar() is not None:
        _lock(session, row_id)
        _close(session, message, row_id)
        session.commit()
        return row_id, 1
    same = (
        (Maintenance.entry == slot.entry, Maintenance.slot == slot.due)
        if slot
        else (Maintenance.task_id == message.task_id, Maintenance.slot.is_(None))
    )
    row = session.scalars(sa.select(Maintenance).where(*same).with_for_update()).one()
    if row.finished is not None and row.started is not None:
        outcome = "failed" if row.error else "did it"
        raise TakenError(f"{row.worker or 'A worker'} {outcome}, from {_shown(row.started)} to {_shown(row.finished)}.")
    if not _lock(session, row.id):
        raise _BusyError(row)
    if row.attempts - row.parts >= MAX_ATTEMPTS:
        sentence = f"It was begun {row.attempts} times and never ended. The last time: {row.error or LOST}"
        _change(session, row.id, finished=sa.func.clock_timestamp(), error=sentence)
        session.commit()
        raise EndlessError(sentence)
    attempts = row.attempts + 1
    # A skipped slot has no last worker; one that waits has said why, if it failed.
    error = row.error if row.worker is None and row.attempts else LOST if row.attempts else None
    _change(session, row.id, finished=None, attempts=attempts, error=error, **values)
    _close(session, message, row.id)
    session.commit()
    return row.id, attempts


def _change(session: Session, row_id: uuid.UUID, **values: Any) -> None:
    session.execute(sa.update(Maintenance).where(Maintenance.id == row_id).values(**values))


def _close(session: Session, message: Message, row_id: uuid.UUID) -> None:
    """End what lost its worker and will not be taken over any more: a newer slot does what it would have done."""
    begun = Maintenance.started < sa.func.now() - sa.literal(MESSAGE_LOST_AFTER, sa.Interval)
    moot = sa.or_(begun, Maintenance.slot < message.slot.due) if message.slot else begun
    unfinished = (Maintenance.finished.is_(None), Maintenance.started.is_not(None), Maintenance.id != row_id)
    query = sa.select(Maintenance.id).where(Maintenance.task == message.task, *unfinished, moot)
    held = _held(session)
    for lost in session.scalars(query).all():
        if _key(lost) not in held:
            _change(session, lost, finished=sa.func.clock_timestamp(), error=sa.func.coalesce(Maintenance.error, LOST))


def forget(session: Session) -> None:
    """Delete old rows, but for each entry's newest slot, by which a scheduler knows it, and its last success."""
    newer = aliased(Maintenance)
    same = newer.entry == Maintenance.entry
    newest = sa.and_(Maintenance.slot.is_not(None), ~sa.exists().where(same, newer.slot > Maintenance.slot))
    last = sa.and_(
        Maintenance.status == "done",
        Maintenance.entry.is_not(None),
        ~sa.exists().where(same, newer.status == "done", newer.slot > Maintenance.slot),
    )
    old = Maintenance.finished < sa.func.now() - sa.literal(KEPT, sa.Interval)
    # Two that forget at once keep out of each other's way.
    chosen = sa.select(Maintenance.id).where(old, ~newest, ~last).limit(FORGOTTEN).with_for_update(skip_locked=True)
    gone = sa.delete(Maintenance).where(Maintenance.id.in_(chosen.scalar_subquery()))
    session.execute(gone.execution_options(synchronize_session=False))


def last_successes(session: Session) -> dict[str, dt.datetime]:
    """Return when each periodic entry that ever succeeded last did so."""
    query = (
        sa.select(Maintenance.entry, sa.func.max(Maintenance.finished))
        .where(Maintenance.entry.is_not(None), Maintenance.status == "done")
        .group_by(Maintenance.entry)
    )
    return {entry: finished for entry, finished in session.execute(query) if entry and finished}


class Ledger:
    """What a scheduler asks the ledger."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def known(self, due: Mapping[str, tuple[str, dt.datetime]]) -> dict[str, Known]:
        """Return the newest slot of each entry, given its task and its newest slot that is due.

        Of an entry that was never here that slot is noted as skipped: it is new, and has missed nothing.
        """
        with Session(self._engine) as session, session.begin():
            seen = set(session.scalars(sa.select(Maintenance.entry).where(Maintenance.entry.in_(due)).distinct()))
            for name in due.keys() - seen:
                task, slot = due[name]
                new = {"id": uuid.uuid4(), "entry": name, "task": task, "slot": slot, "error": NEW}
                statement = insert(Maintenance).values(finished=sa.func.now(), **new)
                session.execute(statement.on_conflict_do_nothing())
            last = sa.select(Maintenance.entry, sa.func.max(Maintenance.slot)).group_by(Maintenance.entry)
            newest = sa.select(Maintenance).where(
                sa.tuple_(Maintenance.entry, Maintenance.slot).in_(last.where(Maintenance.entry.in_(due)))
            )
            now = session.execute(sa.select(sa.func.now())).scalar_one()
            rows, held = session.scalars(newest).all(), _held(session)
            known: dict[str, Known] = {}
            for row in rows:
                if row.entry and row.slot:
                    lost = _is_lost(row, now) and _key(row.id) not in held
                    known[row.entry] = Known(row.slot, row.attempts, lost)
            return known


def _is_lost(row: Maintenance, now: dt.datetime) -> bool:
    if row.finished is not None or row.started is None:
        return False
    return row.started < now - (RETRY_LOST_AFTER if row.worker is None else LOST_AFTER)


def _key(row_id: uuid.UUID) -> int:
    return int.from_bytes(row_id.bytes[8:], signed=True)


def _lock(session: Session, row_id: uuid.UUID) -> bool:
    return bool(session.scalar(sa.select(sa.func.pg_try_advisory_lock(_key(row_id)))))


def _unlock(session: Session) -> None:
    """Release the lock now: PostgreSQL notices the end of a connection a moment after the next message may come."""
    with contextlib.suppress(sa.exc.SQLAlchemyError):
        session.rollback()
        session.execute(sa.select(sa.func.pg_advisory_unlock_all()))
        session.commit()


def _held(session: Session) -> set[int]:
    """Return the keys of all advisory locks: asked so, nobody finds one taken by who only looks."""
    query = """
        SELECT classid::bigint << 32 | objid::bigint FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    return set(session.scalars(sa.text(query)))


def _shown(instant: dt.datetime | None) -> str:
    return instant.astimezone(dt.UTC).isoformat(timespec="seconds") if instant else "an unknown time"
