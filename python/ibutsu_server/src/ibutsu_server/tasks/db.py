"""Retention: deleting what the policy calls old."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from celery import shared_task
from celery.utils.log import get_task_logger
from flask import current_app

from ibutsu_core.retention import Kind, RetentionPolicy
from ibutsu_server.store import retention, uploads
from ibutsu_server.tasks.maintenance import MaintenanceTask

logger = get_task_logger(__name__)


@shared_task(base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_files")
def prune_old_files(months: int | str) -> dict[str, Any]:
    """Delete the artifacts that are older than so many months."""
    return _prune(Kind.ARTIFACTS, months)


@shared_task(base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_results")
def prune_old_results(months: int | str) -> dict[str, Any]:
    """Delete the results that are older than so many months, with their artifacts."""
    return _prune(Kind.RESULTS, months)


@shared_task(base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_runs")
def prune_old_runs(months: int | str) -> dict[str, Any]:
    """Delete the runs that are older than so many months, with their results and artifacts."""
    return _prune(Kind.RUNS, months)


@shared_task(base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_import_files")
def prune_old_import_files(days: int | str) -> dict[str, Any]:
    """Delete the uploads whose import failed more than so many days ago; those of imports that are done are gone."""
    if int(days) < 1:
        raise ValueError(f"{days} days would delete uploads that failed just now; keep them for a day at least.")
    cutoff = dt.datetime.now(dt.UTC) - dt.timedelta(days=int(days))
    count = uploads.delete_failed(current_app.extensions["ibutsu_session"](), cutoff)
    logger.info("deleted %d uploads that failed before %s", count, cutoff.isoformat())
    return {"cutoff": cutoff.isoformat(), "uploads": count}


def _prune(kind: Kind, months: int | str) -> dict[str, Any]:
    """Delete, and return the counts. Raises RetentionError, before anything is touched, for a senseless policy."""
    policy = RetentionPolicy().with_months(kind, months)
    cutoff = policy.cutoffs()[kind]
    pruned = retention.prune(current_app.extensions["ibutsu_session"](), kind, cutoff)
    counts = dataclasses.asdict(pruned)
    logger.info("pruned %s older than %s: %s", kind.value, cutoff.isoformat(), counts)
    return {"cutoff": cutoff.isoformat(), **counts}
