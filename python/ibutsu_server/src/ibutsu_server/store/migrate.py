"""The schema's migrations, run by Alembic from inside the package."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import partitions
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import ArtifactChunk

# Any number that nothing else in the database locks; two upgrades at once run one after the other.
_LOCK = 0x1B07_5C4E


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def head() -> str:
    """Return the revision that this code expects."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("The package holds no migration.")
    return revision


def current(connection: sa.Connection) -> str | None:
    """Return the revision that the database has, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def is_described(name: str | None, kind: str, _parents: object) -> bool:
    """Tell whether the models describe what has this name; partitions are made as time goes."""
    return kind != "table" or name is None or not name.startswith(f"{ArtifactChunk.__tablename__}_")


def upgrade(settings: DatabaseSettings) -> None:
    """Bring the database's schema to the head, in one transaction, and make the partitions of the coming months.

    Does nothing where both are there.
    """
    engine = create_engine(settings, application="ibutsu-migrate")
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        with engine.connect() as connection:
            partitions.ensure(connection, dt.datetime.now(dt.UTC))
    finally:
        engine.dispose()
