"""The migrations make the schema that the models describe, from nothing and from every earlier revision."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import migrate
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Base


def differences(connection: sa.Connection) -> list[object]:
    """Return what the database has and the models have not, or the other way round."""
    options = {"compare_type": True, "compare_server_default": True, "include_name": migrate.is_described}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, Base.metadata))


@pytest.mark.parametrize("revision", ["base", "0001"])
def test_the_schema_is_that_of_the_models_wherever_it_comes_from(database: DatabaseSettings, revision: str) -> None:
    engine = create_engine(database, application="tests")
    with engine.begin() as connection:
        assert differences(connection) == []
        config = migrate._config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        assert differences(connection), "There is something to upgrade."
    migrate.upgrade(database)
    with engine.begin() as connection:
        assert differences(connection) == []
    engine.dispose()


def test_big_tables_are_vacuumed_before_much_of_them_is_dead(database: DatabaseSettings) -> None:
    engine = create_engine(database, application="tests")
    with engine.connect() as connection:
        query = sa.text("SELECT relname, array_to_string(reloptions, ' ') FROM pg_class WHERE reloptions IS NOT NULL")
        options = {row[0]: row[1] for row in connection.execute(query)}
    engine.dispose()
    for table in ("runs", "results", "artifacts", "upload_chunks"):
        assert "autovacuum_vacuum_scale_factor=0.02" in options[table]
