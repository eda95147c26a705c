"""That a report's rows are stored whatever becomes of its run meanwhile."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from ibutsu_core.records import RunRecord
from ibutsu_server.store import load_sql
from ibutsu_server.store.load import Form, ReportLoader
from ibutsu_server.store.models import Project, Run

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def test_a_run_that_is_pruned_just_when_it_is_found_is_made_anew(engine: sa.Engine, session: Session) -> None:
    run = Run(id=uuid.uuid4(), start_time=NOW, data={})
    project = Project(name="shop", title="Shop")
    session.add_all((run, project))
    session.commit()
    pruned = []

    def prune(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FOR KEY SHARE" in statement and not pruned:
            pruned.append(True)
            with engine.begin() as other:
                other.execute(sa.delete(Run).where(Run.id == run.id))

    event.listen(engine, "before_cursor_execute", prune)
    assert "FOR KEY SHARE" in load_sql.STORED_PROJECT.text
    loader = ReportLoader(
        session,
        project=project,
        find_project=lambda _: project,
        form=Form(source=None, metadata={}),
        now=NOW,
        keeps_sources=False,
    )
    loader.begin(RunRecord(id=run.id))
    session.commit()
    assert pruned
    assert session.execute(sa.select(Run.id, Run.project_id)).one() == (run.id, project.id)
