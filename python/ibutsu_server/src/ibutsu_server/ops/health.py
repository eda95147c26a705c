"""What a process says of its health: `/healthz`, whether its main loop turns, and `/readyz`, whether it can work.

A probe never waits for a server that is away: each is asked on a thread of its own, and an answer counts for a while.
Nothing here takes a lock that a worker's child could need: children are forked while these threads run.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
import time
from collections.abc import Callable, Mapping

from ibutsu_core.heart import Heart
from ibutsu_core.settings import Settings
from ibutsu_server.ops import reach

HANG = 120.0
"""Seconds without a turn of the main loop, while the broker answers, after which the loop counts as hung."""

QUIET = 10.0
"""Seconds without a turn from which on the broker is asked: a turn lasts for as long as that is away."""

KEPT = 5.0
"""Seconds that the answer of a server counts."""

PATIENCE = 2.5
"""Seconds that a probe waits for an answer that it has not got."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An answer to an HTTP request."""

    status: int
    body: bytes
    content_type: str = "application/json"


@dataclasses.dataclass(frozen=True, slots=True)
class _Question:
    begun: float
    answered: threading.Event


class Check:
    """Asks `ask` for a sentence of what is wrong, None for nothing, at most once each `KEPT` seconds."""

    def __init__(self, name: str, ask: Callable[[], str | None]) -> None:
        self._name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._question: _Question | None = None
        self._latest: str | None = None

    def problem(self) -> str | None:
        """Return what is wrong, within `PATIENCE`; None when nothing is."""
        question = self._current()
        if not question.answered.wait(max(0.0, question.begun + PATIENCE - time.monotonic())):
            return f"{self._name} has not answered for {time.monotonic() - question.begun:.0f} s."
        return self._latest

    def latest_problem(self) -> str | None:
        """Return what the latest answer said, at once; None as long as there is none. The next one is asked for."""
        self._current()
        return self._latest

    def _current(self) -> _Question:
        with self._lock:
            question, now = self._question, time.monotonic()
            if question is None or (question.answered.is_set() and now - question.begun > KEPT):
                question = self._question = _Question(now, threading.Event())
                threading.Thread(target=self._answer, args=(question,), name="health-check", daemon=True).start()
            return question

    def _answer(self, question: _Question) -> None:
        try:
            self._latest = self._ask()
        except Exception as error:  # noqa: BLE001 - the probe is to tell, and not to wait
            self._latest = f"{self._name} could not be asked ({type(error).__name__})."
        question.answered.set()


def checks_of(settings: Settings) -> dict[str, Check]:
    """Return the checks of the servers that the application needs, by their names in an answer."""
    celery, database = settings.celery, settings.database
    broker = functools.partial(reach.broker_problem, celery.broker_url)
    found = {"broker": Check("Redis", broker)}
    if celery.result_backend != celery.broker_url:
        results = functools.partial(reach.broker_problem, celery.result_backend, "CELERY_RESULT_BACKEND")
        found["result_backend"] = Check("Redis", results)
    if database is not None:
        found["database"] = Check("PostgreSQL", functools.partial(reach.database_problem, database))
    return found


def alive(heart: Heart, broker: Check) -> Answer:
    """Tell whether the main loop turns, or waits for a broker that is away."""
    if heart.ends:
        return _answer(True, "alive", "It finishes its tasks and ends.")
    silence = heart.silence
    if silence > QUIET and (problem := broker.latest_problem()):
        # From the broker's return on, the loop has as long for its turn as ever.
        heart.beat()
        return _answer(True, "alive", f"The main loop waits for the broker. {problem}")
    if silence > HANG:
        return _answer(False, "alive", f"The main loop has not turned for {silence:.0f} s: it is in {heart.place()}.")
    return _answer(True, "alive", f"The main loop turned {silence:.1f} s ago.")


def ready(checks: Mapping[str, Check], heart: Heart | None = None, *, optional: frozenset[str] = frozenset()) -> Answer:
    """Tell whether the process can work; what is wrong with those that are `optional` is said, and no more."""
    found = {name: check.problem() for name, check in checks.items()}
    if heart is not None:
        found = {"main_loop": _loop_problem(heart), **found}
    wrong = [problem for name, problem in found.items() if problem and name not in optional]
    noted = [problem for name, problem in found.items() if problem and name in optional]
    # That it waits for a server is said by the server's own check, if that knows why.
    message = (wrong[-1] if wrong else None) or "".join(["Ready.", *(f" But: {problem}" for problem in noted)])
    return _answer(not wrong, "ready", message, {name: problem or "ok" for name, problem in found.items()})


def _loop_problem(heart: Heart) -> str | None:
    if heart.ends:
        return "It ends, and begins nothing new."
    if heart.silence > HANG:
        return f"The main loop has not turned for {heart.silence:.0f} s."
    return None if heart.works else "It is not connected to the broker yet, or not again."


def _answer(good: bool, name: str, message: str, checks: Mapping[str, str] | None = None) -> Answer:
    content: dict[str, object] = {name: good, "message": message}
    if checks is not None:
        content["checks"] = checks
    return Answer(200 if good else 503, json.dumps(content).encode() + b"\n")
