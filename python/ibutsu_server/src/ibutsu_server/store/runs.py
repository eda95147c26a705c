"""The end of a run that somebody deletes."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import summary
from ibutsu_server.store.models import Artifact, Result, Run

BATCH = 1000
"""Results that are deleted at once at most, with their artifacts."""


def delete(session: Session, run_id: uuid.UUID) -> bool:
    """Delete the run with its results and artifacts; False for one that is pinned, of which nothing is deleted.

    Commits batch after batch, so that none takes long. What is added meanwhile goes with the run at last, when an
    import into it has ended and nobody else can change it.
    """
    if session.scalar(sa.select(Run.pinned).where(Run.id == run_id)):
        return False
    chosen = sa.select(Result.id).where(Result.run_id == run_id).limit(BATCH)
    while ids := session.scalars(chosen).all():
        session.execute(sa.delete(Artifact).where(Artifact.result_id.in_(ids)))
        session.execute(sa.delete(Result).where(Result.id.in_(ids)))
        session.commit()
    summary.lock_imports(session, run_id)
    summary.lock_run(session, run_id)
    session.execute(sa.delete(Run).where(Run.id == run_id, ~Run.pinned))
    session.commit()
    return True
