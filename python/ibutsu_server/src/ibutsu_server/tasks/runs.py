"""Runs: their summaries, and the repair of what was cut short."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from celery import current_app as celery
from celery import shared_task
from celery.utils.log import get_task_logger
from flask import current_app

from ibutsu_core import logs
from ibutsu_server.store import aborted, partitions, summary, uploads
from ibutsu_server.store.models import Run
from ibutsu_server.tasks.importers import import_results
from ibutsu_server.tasks.maintenance import MaintenanceTask
from ibutsu_server.tasks.waiting import waiting

logger = get_task_logger(__name__)

RECENT_HOURS = 14 * 24
"""How far back `sync_aborted_runs` looks."""

QUIET_MINUTES = 60
"""How long a run that lacks results must have got none to count as aborted."""


@shared_task(name="ibutsu_server.tasks.runs.update_run")
def update_run(run_id: str) -> dict[str, Any]:
    """Compute the run's summary from its results."""
    logs.bind(run_id=run_id)
    session = current_app.extensions["ibutsu_session"]()
    found = summary.update_run(session, uuid.UUID(run_id))
    run = session.get(Run, uuid.UUID(run_id), populate_existing=True)
    logger.info("run %s: %s", run_id, run.summary if run else "there is no such run")
    return {"run_id": run_id, "found": found, "summary": run.summary if run else None}


@shared_task(base=MaintenanceTask, name="ibutsu_server.tasks.runs.sync_aborted_runs")
def sync_aborted_runs() -> dict[str, Any]:
    """Repair what an interrupted client, worker or broker left: untrue summaries, and imports that nobody works on.

    Runs whose client went away before all was run are marked.

    Each run is a transaction of its own, so that one that fails does not keep back the others. The partitions of the
    coming months are made here too, where there are thousands of attempts before they are needed.
    """
    session = current_app.extensions["ibutsu_session"]()
    repaired = failed = 0
    run_ids = summary.untrue_runs(session, hours=RECENT_HOURS)
    session.commit()
    for run_id in run_ids:
        try:
            summary.update_run(session, run_id)
            session.commit()
            repaired += 1
        except Exception:
            session.rollback()
            failed += 1
            logger.exception("run %s: its summary could not be repaired", run_id)
    marked = aborted.mark(session, hours=RECENT_HOURS, quiet_minutes=QUIET_MINUTES)
    session.commit()
    left = uploads.left_over(session, lambda: waiting(celery))
    session.commit()  # Ends the transaction that holds their locks, before a worker takes them.
    for import_id, retries in left:
        # Celery takes the count of retries here, which its types do not say.
        import_results.apply_async((str(import_id),), task_id=str(import_id), retries=retries)  # type: ignore[call-arg]
        uploads.mark_sent(session, import_id)
        session.commit()
    with current_app.extensions["ibutsu_engine"].connect() as connection:
        made = partitions.ensure(connection, dt.datetime.now(dt.UTC))
    logger.info(
        "repaired %d runs, %d failed; marked %d as aborted; sent %d imports again; made partitions: %s",
        repaired, failed, marked, len(left), ", ".join(made) or "none",
    )  # fmt: skip
    return {"repaired": repaired, "failed": failed, "aborted": marked, "sent": len(left), "partitions": made}
