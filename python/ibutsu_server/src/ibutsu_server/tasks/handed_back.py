"""Imports that a worker hands back because it is told to end: that says nothing against them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

import flask
from sqlalchemy.orm import Session

from ibutsu_server.store import uploads

TASK = "ibutsu_server.tasks.importers.import_results"

SENTENCE = "Its worker was told to end before this was imported; another goes on with it."

PATIENCE = 3.0
"""Seconds that PostgreSQL has to find out that the imports' sessions are gone."""


def note(app: flask.Flask, requests: Iterable[Any]) -> None:
    """Note in the imports among the requests that they wait again, so that no lost worker is counted for them."""
    left = {uuid.UUID(request.id) for request in requests if request.name == TASK}
    deadline = time.monotonic() + PATIENCE
    with Session(app.extensions["ibutsu_engine"]) as session:
        while left and time.monotonic() < deadline:
            left -= {import_id for import_id in left if uploads.failed_once(session, import_id, SENTENCE)}
            time.sleep(0.1)
