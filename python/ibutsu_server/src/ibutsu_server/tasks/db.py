"""Retention: deleting what the policy calls old."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from celery import Task, shared_task
from celery.utils.log import get_task_logger
from flask import current_app

from ibutsu_core.retention import Kind
from ibutsu_core.settings import LONGEST_TASK, Settings
from ibutsu_server.store import clock, policies, retention
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.pruned import Pruned
from ibutsu_server.tasks.maintenance import AGAIN_IN, MaintenanceTask

logger = get_task_logger(__name__)

BUDGET = 60.0
"""Seconds that one task deletes for, so that imports that wait behind it come to their turn."""

ANOTHER_TIME = 60
"""Seconds after which a task that found another one at it comes back."""


@shared_task(bind=True, base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_files")
def prune_old_files(self: Task[Any, Any], months: int | str) -> dict[str, Any]:
    """Delete the artifacts that are older than so many months, and the uploads of imports that failed as long ago."""
    return _prune(self, Kind.ARTIFACTS, months)


@shared_task(bind=True, base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_results")
def prune_old_results(self: Task[Any, Any], months: int | str) -> dict[str, Any]:
    """Delete the results that are older than so many months, with their artifacts."""
    return _prune(self, Kind.RESULTS, months)


@shared_task(bind=True, base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_runs")
def prune_old_runs(self: Task[Any, Any], months: int | str) -> dict[str, Any]:
    """Delete the runs that are older than so many months, with their results and artifacts."""
    return _prune(self, Kind.RUNS, months)


@shared_task(bind=True, base=MaintenanceTask, name="ibutsu_server.tasks.db.prune_old_import_files")
def prune_old_import_files(self: Task[Any, Any], days: int | str) -> dict[str, Any]:
    """Delete the uploads whose import failed more than so many days ago; those of imports that are done are gone."""
    if int(days) < 1:
        raise ValueError(f"{days} days would delete uploads that failed just now; keep them for a day at least.")
    cutoff = _now() - dt.timedelta(days=int(days))
    return _work(self, cutoff, lambda batches: retention.prune_uploads(batches, policies.Cutoffs(cutoff, {})))


def _prune(task: Task[Any, Any], kind: Kind, months: int | str) -> dict[str, Any]:
    """Delete what is older by the policy of its project; `months` is the default policy's.

    Raises, before anything is touched, RetentionError for a policy that makes no sense, and ClockError.
    """
    settings: Settings = current_app.extensions["ibutsu_settings"]
    default = settings.retention.with_months(kind, months)
    now = _now()

    def prune(batches: Batches) -> Pruned:
        with batches.connection.begin():
            found = policies.read(batches.connection, default)
        return retention.prune(batches, found, (kind,), now)

    return _work(task, default.cutoffs(now)[kind], prune)


def _now() -> dt.datetime:
    engine: sa.Engine = current_app.extensions["ibutsu_engine"]
    with engine.connect() as connection:
        return clock.confirmed_now(connection)


def _work(task: Task[Any, Any], cutoff: dt.datetime, prune: Callable[[Batches], Pruned]) -> dict[str, Any]:
    """Prune for as long as the budget allows, and leave the rest to another message with the same arguments.

    Only one prunes at a time; another one comes back later. A message too many finds nothing left to delete.
    """
    settings: Settings = current_app.extensions["ibutsu_settings"]
    engine: sa.Engine = current_app.extensions["ibutsu_engine"]
    budget = min(BUDGET, (settings.celery.task_time_limit or LONGEST_TASK) / 2)
    begun = time.monotonic()
    with engine.connect() as connection, retention.exclusive(connection) as mine:
        pruned = prune(Batches(connection, budget=budget)) if mine else Pruned(complete=False)
    told = {"cutoff": cutoff.isoformat(), **pruned.as_dict(), "seconds": round(time.monotonic() - begun, 3)}
    logger.info("%s, cut-off %s: %s", task.name, cutoff.isoformat(), told)
    if not mine:
        logger.info("another worker is pruning; this comes back in %d s", ANOTHER_TIME)
    return told if pruned.complete else told | {AGAIN_IN: 0 if mine else ANOTHER_TIME}
