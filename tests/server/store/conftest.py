"""A test's own database, as the store's modules are given it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Run


@pytest.fixture
def engine(database: DatabaseSettings) -> Iterator[sa.Engine]:
    """An engine on the test's database."""
    engine = create_engine(database, application="tests")
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that is in no transaction."""
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    """A session that is in no transaction; what it has read stays as it was."""
    with Session(engine, expire_on_commit=False) as session:
        yield session


@pytest.fixture
def run(session: Session) -> Run:
    """A run."""
    run = Run(id=uuid.uuid4(), data={})
    session.add(run)
    session.commit()
    return run
