"""Queries whose answer is too large for a request."""

from __future__ import annotations

import uuid
from typing import Any

from celery import shared_task
from flask import current_app

from ibutsu_server.store import pages
from ibutsu_server.store.filters import FilterError


@shared_task(name="ibutsu_server.tasks.query.query_task", throws=(FilterError,))
def query_task(
    kind: str, filters: list[str] | None = None, page: int = 1, page_size: int = 25, *, user_id: str
) -> dict[str, Any]:
    """Return a page of "runs" or "results" that the user may see, with its pagination."""
    session = current_app.extensions["ibutsu_session"]()
    return pages.query_page(session, kind, filters or [], page=page, page_size=page_size, user_id=uuid.UUID(user_id))
