"""The examination: all is asked at once, each on a thread of its own, and then judged together."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ibutsu_server import __version__
from ibutsu_server.ops import identity
from ibutsu_server.ops.doctor import (
    broker,
    broker_rules,
    database_rules,
    process_rules,
    schedule_rules,
    web,
    web_rules,
    workers,
)
from ibutsu_server.ops.doctor.broker import BrokerFacts
from ibutsu_server.ops.doctor.facts import DatabaseFacts, PageFacts, WorkerFacts
from ibutsu_server.ops.doctor.finding import Finding, skipped
from ibutsu_server.ops.doctor.mends import Advice
from ibutsu_server.ops.doctor.subject import Subject
from ibutsu_server.ops.doctor.trouble import Trouble

BROKER, BACKEND = "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"

NO_DRIVER = "Neither SQLAlchemy nor psycopg2 is installed here, as in Flower's image"

SEE_BROKER = "Not looked at: see `broker`."
SEE_DATABASE = "Not looked at: see `database`."
SEE_SCHEMA = "Not looked at: see `schema`."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen. None is what was not looked at."""

    broker: BrokerFacts | Trouble | None = None
    result_backend: BrokerFacts | Trouble | None = None
    database: DatabaseFacts | Trouble | None = None
    workers: tuple[WorkerFacts, ...] | Trouble | None = None
    flower: PageFacts | Trouble | None = None
    api: PageFacts | Trouble | None = None


def has_driver() -> bool:
    """Tell whether this installation can talk to PostgreSQL; Flower's cannot."""
    return all(importlib.util.find_spec(name) for name in ("sqlalchemy", "psycopg2"))


def observe(subject: Subject, *, flower_url: str | None, url: str | None, seconds: float) -> Observed:
    """Ask all that is known of, for at most so many seconds."""
    questions: dict[str, Callable[[], Any]] = {}
    if subject.broker_url:
        broker_url = subject.broker_url
        questions["broker"] = lambda: broker.ask(broker_url, BROKER)
        questions["workers"] = lambda: workers.ask(broker_url)
    if subject.result_backend and subject.result_backend != subject.broker_url:
        backend = subject.result_backend
        questions["result_backend"] = lambda: broker.ask(backend, BACKEND)
    if subject.database and has_driver():
        # Flower's installation has nothing that this imports.
        from ibutsu_server.ops.doctor import database

        settings, names = subject.database, [entry.name for entry in subject.entries]
        questions["database"] = lambda: database.ask(settings, names)
    if flower_url:
        questions["flower"] = lambda: web.ask_flower(flower_url)
    if url:
        questions["api"] = lambda: web.ask_api(url)
    return Observed(**_answers(questions, seconds))


def _answers(questions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Return what each question was answered, or a Trouble: who hangs is waited for no longer than `seconds`."""
    names = {"broker": "Redis", "result_backend": "Redis", "database": "PostgreSQL", "api": "The API"}
    late = {
        name: Trouble("timeout", f"{names.get(name, name.capitalize())} did not answer all within {seconds:.0f} s.")
        for name in questions
    }
    answers: dict[str, Any] = {}

    def ask(name: str, question: Callable[[], Any]) -> None:
        try:
            answers[name] = question()
        except Exception as error:  # noqa: BLE001 - the other checks are to be seen
            what = names.get(name, name.capitalize())
            answers[name] = Trouble("unknown", f"{what} could not be asked ({type(error).__name__}).")

    # These threads end with the process, whatever they wait for.
    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in questions.items()]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return late | dict(answers)


def judge(subject: Subject, seen: Observed, *, kubernetes: bool) -> list[Finding]:
    """Return all findings, in the order in which one should look at them."""
    redis = broker_rules.advice_for(subject.broker_url, kubernetes=kubernetes)
    postgresql = Advice(kubernetes)
    if subject.database:
        postgresql = Advice(kubernetes, subject.database.host, subject.database.port)
    return [
        *subject.findings,
        *_of_redis(subject, seen, redis, kubernetes=kubernetes),
        *_of_database(subject, seen, postgresql),
        *_of_processes(subject, seen, redis),
        *_of_queue(seen, redis),
        web_rules.flower(seen.flower, redis),
        web_rules.api(seen.api, redis),
        process_rules.clocks(_clocks(seen), redis),
    ]


def _of_redis(subject: Subject, seen: Observed, advice: Advice, *, kubernetes: bool) -> Iterator[Finding]:
    yield broker_rules.reached("broker", BROKER, seen.broker, advice)
    there = broker_rules.advice_for(subject.result_backend, kubernetes=kubernetes)
    backend = seen.result_backend
    if subject.result_backend and subject.result_backend == subject.broker_url:
        backend = seen.broker
        yield broker_rules.same(backend)
    else:
        yield broker_rules.reached("result-backend", BACKEND, backend, there)
    if isinstance(seen.broker, BrokerFacts):
        yield from broker_rules.kept(seen.broker, advice)
    else:
        yield from (skipped(check, SEE_BROKER) for check in broker_rules.CHECKS)
    if isinstance(backend, BrokerFacts):
        yield broker_rules.results(backend, there)
    else:
        yield skipped("result-expiry", "Not looked at: see `result-backend`.")


def _of_database(subject: Subject, seen: Observed, advice: Advice) -> Iterator[Finding]:
    if seen.database is None:
        reason = "POSTGRESQL_… is not right."
        if not subject.wants_database:
            reason = "This is Flower's environment, which has no database. Run `ibutsu doctor` where a worker runs."
        elif not has_driver():
            reason = f"{NO_DRIVER}. Run `ibutsu doctor` where a worker runs."
        yield skipped("database", f"PostgreSQL was not looked for: {reason}")
    else:
        yield from database_rules.reached(seen.database, advice)
    if not isinstance(seen.database, DatabaseFacts):
        yield from (skipped(check, SEE_DATABASE) for check in database_rules.CHECKS)
        return
    facts, count = seen.database, _workers(seen)
    yield schedule_rules.schedulers(facts.sessions, advice)
    if facts.imports is None or facts.ledger is None or facts.lacking is None:
        yield from (skipped(check, SEE_SCHEMA) for check in database_rules.CHECKS_OF_TABLES)
        return
    yield from schedule_rules.maintenance(subject.entries, facts.ledger, facts.now, advice)
    yield from database_rules.imports(facts.imports, facts.now, workers=count, advice=advice)
    yield database_rules.partitions(facts.lacking, advice)


def _of_processes(subject: Subject, seen: Observed, advice: Advice) -> Iterator[Finding]:
    sessions = seen.database.sessions if isinstance(seen.database, DatabaseFacts) else ()
    if isinstance(seen.workers, tuple):
        yield from process_rules.workers(seen.workers, sessions, __version__, advice)
        backend = identity.broker_place(subject.result_backend) if subject.result_backend else None
        here = subject.database
        database = identity.place(here.host, here.port, here.database) if here else None
        yield from process_rules.same_places(seen.workers, backend, database, advice)
    elif isinstance(seen.workers, Trouble) and isinstance(seen.broker, BrokerFacts):
        yield process_rules.unanswered(seen.workers, advice)
    else:
        yield from (skipped(check, SEE_BROKER) for check in process_rules.CHECKS)
    if isinstance(seen.database, DatabaseFacts):
        yield from process_rules.processes(sessions, __version__, advice)
        if subject.broker_url:
            yield process_rules.same_broker(identity.broker_place(subject.broker_url), sessions, advice)


def _of_queue(seen: Observed, advice: Advice) -> Iterator[Finding]:
    if isinstance(seen.broker, BrokerFacts):
        now = dt.datetime.now(dt.UTC)
        yield broker_rules.queue(seen.broker, now, workers=_workers(seen), advice=advice)
    else:
        yield skipped("queue", SEE_BROKER)


def _workers(seen: Observed) -> int | None:
    return len(seen.workers) if isinstance(seen.workers, tuple) else None


def _clocks(seen: Observed) -> dict[str, float]:
    ahead = {}
    if isinstance(seen.broker, BrokerFacts):
        ahead["Redis"] = seen.broker.ahead
    if isinstance(seen.database, DatabaseFacts):
        ahead["PostgreSQL"] = seen.database.ahead
    if isinstance(seen.workers, tuple):
        ahead |= {one.name: one.ahead for one in seen.workers if one.ahead is not None}
    return ahead
