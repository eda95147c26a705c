"""IbutsuTask: context, session, and the retry of what passes by itself. Sessions are recorded, nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Retry
from flask import Flask, current_app
from hypothesis import given
from hypothesis import strategies as st

from ibutsu_core.celery_utils import create_flask_celery_app
from ibutsu_core.settings import CelerySettings
from ibutsu_core.task import EXTENSION, RETRIES, RETRY_CAP, IbutsuTask, OutOfMemoryError, TaskRuntime, retry_delay


class RecordingSession:
    """Notes what a task's frame does to it; a commit may fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.commit_error: Exception | None = None

    def commit(self) -> None:
        self.calls.append("commit")
        if self.commit_error:
            raise self.commit_error

    def rollback(self) -> None:
        self.calls.append("rollback")

    def remove(self) -> None:
        self.calls.append("remove")


@pytest.fixture
def session() -> RecordingSession:
    """The session of the application below."""
    return RecordingSession()


@pytest.fixture
def app(session: RecordingSession) -> Celery:
    """A worker's application in which a ConnectionError is transient; its results stay in this process."""
    flask_app = Flask("flask")
    flask_app.extensions[EXTENSION] = TaskRuntime(
        session=session, is_transient=lambda error: isinstance(error, ConnectionError)
    )
    settings = CelerySettings(broker_url="memory://", result_backend="cache+memory://")
    app = create_flask_celery_app(flask_app, "tests", settings=settings)
    app.conf.update(broker_url="memory://", result_backend="cache+memory://", broker_transport_options={})
    return app


def test_a_task_runs_in_the_context_and_its_session_is_committed(app: Celery, session: RecordingSession) -> None:
    @app.task(shared=False)
    def task() -> str:
        assert not session.calls
        return current_app.name

    assert task.apply().get() == "flask"
    assert session.calls == ["commit", "remove"]


def test_a_permanent_failure_is_rolled_back_and_not_retried(app: Celery, session: RecordingSession) -> None:
    attempts = []

    @app.task(shared=False)
    def task() -> None:
        attempts.append(1)
        raise ValueError("broken for good")

    with pytest.raises(ValueError, match="broken for good"):
        task.apply().get()
    assert session.calls == ["rollback", "remove"]
    assert len(attempts) == 1


def test_a_task_without_memory_fails_as_any_other_and_ends_no_worker(app: Celery, session: RecordingSession) -> None:
    @app.task
    def greedy() -> None:
        raise MemoryError

    result = greedy.apply()
    assert isinstance(result.result, OutOfMemoryError)
    assert str(result.result).endswith(".greedy got no more memory.")
    assert session.calls == ["rollback", "remove"]


def test_a_transient_failure_is_retried_a_bounded_number_of_times(app: Celery, session: RecordingSession) -> None:
    attempts = []

    @app.task(shared=False)
    def task() -> None:
        attempts.append(1)
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        task.apply().get()
    assert len(attempts) == RETRIES + 1
    assert session.calls == ["rollback", "remove"] * (RETRIES + 1)


def test_a_commit_that_fails_for_a_while_is_retried(app: Celery, session: RecordingSession) -> None:
    session.commit_error = ConnectionError("away")

    @app.task(shared=False)
    def task() -> int:
        if session.calls.count("commit") == 2:
            session.commit_error = None
        return 7

    assert task.apply().get() == 7
    assert session.calls == ["commit", "rollback", "remove"] * 2 + ["commit", "remove"]


def test_a_retry_waits_longer_each_time(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    @app.task(shared=False)
    def task() -> None:
        raise ConnectionError("away")

    def retry(*, exc: Exception, countdown: float, **_: Any) -> Retry:
        waits.append(countdown)
        return Retry(exc=exc, when=countdown)

    monkeypatch.setattr(task, "retry", retry)
    for retries in range(RETRIES):
        task.apply(retries=retries)
    assert len(waits) == RETRIES
    longest = [min(RETRY_CAP, 2.0**n) for n in range(RETRIES)]
    assert all(most / 2 <= wait <= most for most, wait in zip(longest, waits, strict=True))
    assert waits[-1] >= RETRY_CAP / 2


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_the_delay_grows_to_the_cap_and_no_further(retries: int, draw: float, other: float) -> None:
    delay = retry_delay(retries, draw=lambda: draw)
    assert 0.5 <= delay <= RETRY_CAP
    assert delay <= 2 * retry_delay(retries, draw=lambda: other)
    assert retry_delay(retries + 1, draw=lambda: draw) >= delay


def test_a_task_is_told_before_it_is_tried_again_and_only_then(app: Celery) -> None:
    told: list[tuple[str, float]] = []

    class Noting(IbutsuTask):
        abstract = True

        def before_retry(self, error: Exception, delay: float) -> None:
            told.append((str(error), delay))

    @app.task(base=Noting, shared=False)
    def transient() -> None:
        raise ConnectionError("away")

    @app.task(base=Noting, shared=False)
    def permanent() -> None:
        raise ValueError("broken")

    with pytest.raises(Retry) as retried:
        transient.apply(throw=True)
    assert told == [("away", retried.value.when)]
    with pytest.raises(ValueError, match="broken"):
        permanent.apply(throw=True)
    assert len(told) == 1
