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
from ibutsu_server.store.models import Import, UploadChunk


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


@pytest.mark.parametrize(("size", "pieces", "again"), [(2 * SIZE, 2, True), (2 * SIZE, 1, False), (SIZE + 1, 1, False)])
def test_an_upload_whose_end_is_deleted_already_is_not_tried_again(
    session: Session, size: int, pieces: int, again: bool
) -> None:
    """Retention takes a large one in several steps; half of it would fail once more, and say less of why."""
    failed = Import(id=uuid.uuid4(), filename="a.xml", format="junit", size=size, sha256="", status="error")
    session.add(failed)
    session.flush()
    session.add_all([UploadChunk(import_id=failed.id, position=position, data=b"x") for position in range(pieces)])
    session.commit()
    assert uploads.retry(session, failed.id) is again
