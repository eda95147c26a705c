"""The migrations make what the models say."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Base


def test_the_migrated_schema_is_that_of_the_models(database: DatabaseSettings) -> None:
    engine = create_engine(database, application="tests")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
