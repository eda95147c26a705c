"""The connection to PostgreSQL, and which of its errors pass by themselves."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from ibutsu_core.settings import DatabaseSettings

CONNECT_TIMEOUT = 10
"""Seconds."""

TCP_USER_TIMEOUT = 30
"""Seconds after which a connection is lost whose other end takes nothing; TCP alone waits a quarter of an hour."""

# A session that waits or computes does not see that its client is gone, and keeps its locks; so PostgreSQL looks.
# One that is idle does, unless the client's whole machine is gone: it finds that out within a minute.
_SESSION = {
    "timezone": "UTC",
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": f"{TCP_USER_TIMEOUT}s",
}

# Values of SQLSTATE.
BROKEN_EXPRESSION = "2201B"
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"

# Classes of SQLSTATE that another attempt may not meet: connection, resources, operator intervention, system error;
# serialization failure, deadlock, lock not available.
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_TRANSIENT_STATES = ("40001", "40P01", LOCK_NOT_AVAILABLE)


def database_url(settings: DatabaseSettings) -> sa.URL:
    """Return SQLAlchemy's URL; any characters in the settings reach PostgreSQL unharmed."""
    return sa.URL.create(
        "postgresql+psycopg2",
        username=settings.user,
        password=settings.password,
        host=settings.host,
        port=settings.port,
        database=settings.database,
    )


def create_engine(
    settings: DatabaseSettings,
    *,
    application: str,
    pool_size: int = 5,
    query_time: int | None = None,
    lock_time: int | None = None,
) -> sa.Engine:
    """Make an engine whose connections are tested before use, and say in PostgreSQL which `application` they are.

    `query_time` and `lock_time` are the seconds that a statement may take, and wait for a lock.
    """
    limits = {"statement_timeout": query_time, "lock_timeout": lock_time}
    options = _SESSION | {name: f"{seconds}s" for name, seconds in limits.items() if seconds is not None}
    return sa.create_engine(
        database_url(settings),
        pool_size=pool_size,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": application,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": TCP_USER_TIMEOUT * 1000,
        },
    )


class SharedSession(scoped_session[Session]):
    """Ends a session's transaction, and makes no session for that: it would cost more than a task that needs none."""

    def commit(self) -> None:
        """Commit, where there is a session."""
        if self.registry.has():
            super().commit()

    def rollback(self) -> None:
        """Roll back, where there is a session."""
        if self.registry.has():
            super().rollback()


def create_session(engine: sa.Engine) -> scoped_session[Session]:
    """Make the session that a thread's work shares."""
    return SharedSession(sessionmaker(engine, expire_on_commit=False))


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of PostgreSQL's error, "" where it is none."""
    return getattr(getattr(error, "orig", error), "pgcode", None) or ""


def is_transient(error: BaseException) -> bool:
    """Tell whether the error is the database's and passes by itself: it is away, busy, full, or chose us to yield."""
    if isinstance(error, exc.DBAPIError):
        state = getattr(error.orig, "pgcode", None)
        if state is None:
            return error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)
        return state in _TRANSIENT_STATES or state[:2] in _TRANSIENT_CLASSES
    if isinstance(error, exc.TimeoutError):  # The pool had no connection to give.
        return True
    # An error that COPY raises comes from the driver as it is.
    state = getattr(error, "pgcode", None)
    if type(error).__module__.startswith("psycopg2"):
        if state is None:
            return type(error).__name__ in ("OperationalError", "InterfaceError")
        return state in _TRANSIENT_STATES or state[:2] in _TRANSIENT_CLASSES
    return False
