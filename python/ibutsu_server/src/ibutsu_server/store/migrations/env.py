"""Alembic's environment: the connection comes from `ibutsu_server.store.migrate`."""

from __future__ import annotations

from alembic import context

from ibutsu_server.store.migrate import is_described
from ibutsu_server.store.models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, include_name=is_described
)
context.run_migrations()
