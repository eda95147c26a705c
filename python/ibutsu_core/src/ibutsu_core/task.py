"""The base class of all tasks: Flask's context, one session, and the retry of what will pass by itself."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from celery import Task

from ibutsu_core import logs

RETRY_CAP = 60 * 60
"""Seconds between two attempts at most."""

RETRIES = 15
"""Attempts after the first; with doubling delays the last comes about four hours after the first."""

EXTENSION = "ibutsu_tasks"
"""Where a Flask application keeps its `TaskRuntime`, in its `extensions`."""


class Session(Protocol):
    """The part of SQLAlchemy's `scoped_session` that a task's frame needs."""

    def commit(self) -> None:
        """Make what the task did permanent."""

    def rollback(self) -> None:
        """Undo what the task did."""

    def remove(self) -> None:
        """Give the connection back."""


@dataclasses.dataclass(frozen=True, slots=True)
class TaskRuntime:
    """What the server lends to tasks: its session, and which errors are worth another attempt."""

    session: Session
    is_transient: Callable[[BaseException], bool]


class FlaskApplication(Protocol):
    """The part of a Flask application that tasks need."""

    extensions: dict[str, Any]

    def app_context(self) -> AbstractContextManager[Any]:
        """Return a context manager of the application's context."""


def retry_delay(retries: int, *, draw: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait before attempt `retries` + 2: doubling from one second, the cap, half of it jitter.

    `draw` returns a number from 0 up to 1.
    """
    delay = min(RETRY_CAP, 2.0 ** min(retries, 32))
    return delay * (0.5 + draw() / 2)


class OutOfMemoryError(RuntimeError):
    """A task got no more memory. What it had is free again, and its process goes on."""


class IbutsuTask(Task[Any, Any]):
    """A task that runs inside Flask's application context, with a session.

    The session is committed on success, rolled back on failure, and always removed. Transient failures are retried
    with exponential backoff and jitter, a bounded number of times; all others never.
    """

    abstract = True
    max_retries = RETRIES
    Request = "ibutsu_core.request:NotedRequest"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; see the class."""
        logs.clear()
        flask_app: FlaskApplication = self.app.flask_app  # type: ignore[attr-defined]
        runtime: TaskRuntime = flask_app.extensions[EXTENSION]
        with flask_app.app_context():
            try:
                result = self.perform(*args, **kwargs)
                runtime.session.commit()
            except Exception as error:
                runtime.session.rollback()
                if isinstance(error, MemoryError):
                    # Celery would end the whole worker, whose other children have nothing to do with it.
                    raise OutOfMemoryError(f"{self.name} got no more memory.") from error
                if not runtime.is_transient(error):
                    raise
                delay = retry_delay(self.request.retries)
                self.before_retry(error, delay)
                raise self.retry(exc=error, countdown=delay) from error
            else:
                return result
            finally:
                runtime.session.remove()

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """Do the task's work, inside the context; a subclass may do something before and after."""
        # Not super().__call__: that pushes a second request, in which self.retry() refuses to work.
        return self.run(*args, **kwargs)

    def before_retry(self, error: Exception, delay: float) -> None:
        """Do what a task wants done before it is tried again in `delay` seconds; nothing, unless it is overridden."""
