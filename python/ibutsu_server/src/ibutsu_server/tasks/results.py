"""Results: filling in what an interrupted client left out."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from celery import shared_task
from celery.utils.log import get_task_logger
from flask import current_app

from ibutsu_core import logs

logger = get_task_logger(__name__)

_FILL = sa.text(
    """
    UPDATE results SET start_time = coalesce(runs.start_time, results.created)
    FROM runs WHERE runs.id = results.run_id AND runs.id = :run_id AND results.start_time IS NULL
    """
)


@shared_task(name="ibutsu_server.tasks.results.add_result_start_time")
def add_result_start_time(run_id: str) -> dict[str, Any]:
    """Give the run's results that lack a start time the run's, or else the time at which they were stored."""
    logs.bind(run_id=run_id)
    session = current_app.extensions["ibutsu_session"]()
    filled = session.execute(_FILL, {"run_id": uuid.UUID(run_id)}).rowcount
    logger.info("run %s: %d results were given a start time", run_id, filled)
    return {"run_id": run_id, "results": filled}
