"""Queries whose answer is too large for a request."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from celery import shared_task
from flask import current_app
from sqlalchemy import exc

from ibutsu_core.settings import Settings
from ibutsu_server.store import pages
from ibutsu_server.store.database import BROKEN_EXPRESSION, QUERY_CANCELED, state_of
from ibutsu_server.store.filters import FilterError


class PageTooSlowError(Exception):
    """The query takes longer than it may; it would again, so that it is not tried again."""


class PageTooLargeError(Exception):
    """The page has more bytes than it may."""


@shared_task(name="ibutsu_server.tasks.query.query_task", throws=(FilterError, PageTooLargeError, PageTooSlowError))
def query_task(
    kind: str, filters: list[str] | None = None, page: int = 1, page_size: int = 25, *, user_id: str
) -> dict[str, Any]:
    """Return a page of "runs" or "results" that the user may see, with its pagination."""
    session = current_app.extensions["ibutsu_session"]()
    settings: Settings = current_app.extensions["ibutsu_settings"]
    seconds, most = settings.page_query_time, settings.page_bytes
    session.execute(sa.text(f"SET LOCAL statement_timeout = '{seconds}s'"))
    try:
        return pages.query_page(
            session,
            kind,
            filters or [],
            page=page,
            page_size=page_size,
            most_bytes=most,
            user_id=uuid.UUID(user_id),
        )
    except pages.LargePageError as error:
        raise PageTooLargeError(
            f"The page is larger than {most} bytes; IBUTSU_PAGE_MAX_BYTES sets this limit. Ask for a smaller page."
        ) from error
    except exc.DBAPIError as error:
        if state_of(error) == BROKEN_EXPRESSION:
            raise FilterError("A filter's regular expression is not valid.") from error
        if state_of(error) == QUERY_CANCELED:
            raise PageTooSlowError(
                f"A query takes longer than {seconds} seconds; IBUTSU_PAGE_MAX_QUERY_TIME sets this limit. "
                "Narrow the list with filters, or ask for a smaller page."
            ) from error
        raise
