"""The tests' own databases: what one test leaves is not there for the next."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Project, SigningKey


def seen(database: DatabaseSettings, statement: str) -> tuple[int, int, bool]:
    """Return how many projects and signing keys there are, and whether a table is strange; then do as is said."""
    engine = create_engine(database, application="tests")
    with Session(engine) as session:
        found = [session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (Project, SigningKey)]
        strange = session.scalar(sa.text("SELECT to_regclass('strange') IS NOT NULL"))
        session.execute(sa.text(statement))
        session.commit()
    engine.dispose()
    return found[0], found[1], bool(strange)


def test_rows_schemas_and_connections_of_a_test_are_gone_for_the_next(databases: Any) -> None:
    names = set()
    left = None
    for statement in (
        "INSERT INTO projects (id, name) VALUES (gen_random_uuid(), 'left')",
        "CREATE TABLE strange ()",
        "DELETE FROM signing_keys",
        "SELECT 1",
    ):
        database = databases.take()
        names.add(database.database)
        assert seen(database, statement) == (0, 1, False)
        if left is None:
            left = create_engine(database, application="tests").connect()
        databases.put_back(database)
    assert len(names) == 4
    left.invalidate()
