"""The writer of uploads, where what it writes to fails."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import uploads
from ibutsu_server.store.chunks import SIZE
from ibutsu_server.store.database import create_engine


def test_the_error_that_ended_an_upload_is_the_one_that_is_raised(database: DatabaseSettings) -> None:
    """After it, what is left of the upload would only meet a transaction that takes nothing more."""
    engine = create_engine(database, application="tests")
    with (
        Session(engine) as session,
        pytest.raises(exc.DataError, match="division by zero"),
        uploads.UploadWriter(session, uuid.uuid4()) as writer,
    ):
        writer.write(bytes(SIZE - 1))
        session.execute(sa.text("SELECT 1 / 0"))
    engine.dispose()
