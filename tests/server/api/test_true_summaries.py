"""Summaries count the stored results, whatever happens in whatever order and however much of it at once."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

import flask
import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.records import OUTCOMES, ResultRecord, RunRecord
from ibutsu_core.retention import Kind, RetentionPolicy
from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import load, policies, retention, summary
from ibutsu_server.store.batches import Batches
from ibutsu_server.store.models import Import, Project, Result, Run

THREADS = 8

WORDS = sorted(OUTCOMES)

LIES = {"tests": 99, "passes": 98, "failures": 97, "pass_percent": 5, "not_run": 7}


def counted(session: Session, run_id: uuid.UUID, collected: int) -> dict[str, int]:
    """What the run's summary is to say, counted here."""
    session.rollback()
    words = collections.Counter(session.scalars(sa.select(Result.result).where(Result.run_id == run_id)))
    tests = words.total()
    known = {"failures": "failed", "errors": "error", "skips": "skipped", "xfailures": "xfailed", "xpasses": "xpassed"}
    counts = {name: words[word] for name, word in known.items()}
    passes = tests - sum(counts.values())
    return counts | {
        "tests": tests, "passes": passes, "pass_percent": passes * 100 // tests if tests else 0,
        "collected": collected, "not_run": max(collected - tests, 0),
    }  # fmt: skip


def duration_of(session: Session, run_id: uuid.UUID) -> float:
    return session.scalar(sa.select(sa.func.sum(Result.duration)).where(Result.run_id == run_id)) or 0.0


def test_a_late_result_is_counted_at_once(ann: Any, session: Session) -> None:
    run = ann.run(summary=LIES | {"collected": 9})
    assert run["summary"] == counted(session, uuid.UUID(run["id"]), 9)
    ann.put(f"/run/{run['id']}", {"summary": {"collected": 12}})
    for number, word in enumerate(WORDS):
        ann.result(run, result=word, duration=number)
        assert ann.get(f"/run/{run['id']}").get_json()["summary"] == counted(session, uuid.UUID(run["id"]), 12)
    assert ann.get(f"/run/{run['id']}").get_json()["duration"] == sum(range(len(WORDS)))


def test_a_changed_result_is_counted_anew_and_one_that_moves_with_its_new_run(ann: Any, session: Session) -> None:
    one, other = ann.run(), ann.run()
    result = ann.result(one, result="failed", duration=2)
    ann.result(one, result="passed", duration=3)
    ann.result(other, result=None, duration=None)
    for change in ({"result": "xpassed"}, {"duration": 5}, {"run_id": other["id"]}, {"metadata": {"run": one["id"]}}):
        assert ann.put(f"/result/{result['id']}", change).status_code == 200
        for run in (one, other):
            stored = ann.get(f"/run/{run['id']}").get_json()
            assert stored["summary"] == counted(session, uuid.UUID(run["id"]), 0)
            assert stored["duration"] == duration_of(session, uuid.UUID(run["id"]))


def test_nobody_but_the_server_says_the_counts(ann: Any, session: Session) -> None:
    run = ann.run()
    ann.result(run)
    updated = ann.put(f"/run/{run['id']}", {"summary": LIES | {"collected": 3, "mine": [1]}}).get_json()
    assert updated["summary"] == counted(session, uuid.UUID(run["id"]), 3) | {"mine": [1]}


def test_a_run_that_was_never_counted_is_by_its_next_result(ann: Any, session: Session) -> None:
    for before in (None, {}, {"tests": None}, []):
        run = Run(id=uuid.uuid4(), project_id=ann.project.id, summary=before)
        session.add(run)
        session.flush()
        session.add(Result(run_id=run.id, project_id=ann.project.id, result="failed"))
        session.commit()
        ann.result({"id": str(run.id), "project_id": str(ann.project.id)})
        assert ann.get(f"/run/{run.id}").get_json()["summary"] == counted(session, run.id, 0)


def prune_results(engine: Any, *, now: dt.datetime) -> int:
    """Prune the results that are older than five months at that time; returns how many went."""
    with engine.connect() as connection:
        with connection.begin():
            found = policies.read(connection, RetentionPolicy(3, 5, 12))
        return retention.prune(Batches(connection), found, (Kind.RESULTS,), now).results.gone


def test_a_run_keeps_its_counts_when_its_results_are_pruned(ann: Any, session: Session) -> None:
    run = ann.run(summary={"collected": 2})
    for word in ("failed", "passed"):
        before = ann.put(f"/result/{ann.result(run, result=word)['id']}", {"start_time": "2020-01-01"})
        assert before.status_code == 200
    before = ann.get(f"/run/{run['id']}").get_json()
    assert prune_results(session.get_bind(), now=dt.datetime(2020, 7, 1, tzinfo=dt.UTC)) == 2
    after = ann.put(f"/run/{run['id']}", {"metadata": {"seen": True}, "summary": LIES | {"collected": 3}}).get_json()
    assert after["summary"] == before["summary"] | {"collected": 3, "not_run": 1}
    assert summary.untrue_runs(session, hours=1) == []


def test_the_repair_finds_every_untrue_summary(ann: Any, session: Session) -> None:
    run_ids = [uuid.UUID(ann.run()["id"]) for _ in range(6)]
    for run_id in run_ids:
        for word in ("passed", "failed"):
            ann.result({"id": str(run_id), "project_id": str(ann.project.id)}, result=word)
    assert summary.untrue_runs(session, hours=1) == []
    more = "jsonb_set(summary, '{tests}', '3')"
    other = 'summary || \'{"failures": 0, "errors": 1}\''
    for run_id, value in zip(run_ids, ("NULL", "'{}'", "'[]'", more, other), strict=False):
        session.execute(sa.text(f"UPDATE runs SET summary = {value} WHERE id = :id"), {"id": run_id})
    assert summary.untrue_runs(session, hours=1) == run_ids[:5]
    for run_id in run_ids:
        summary.update_run(session, run_id)
    assert summary.untrue_runs(session, hours=1) == []


def add_one(session: Session, run: Run, word: str) -> None:
    result = Result(run_id=run.id, project_id=run.project_id, result=word, duration=1)
    session.add(result)
    session.flush()
    summary.follow(session, None, summary.Counted(run.id, word, 1))


def add_two_and_count(session: Session, run: Run, word: str) -> None:
    session.add_all(Result(run_id=run.id, project_id=run.project_id, result=word, duration=1) for _ in range(2))
    session.flush()
    summary.update_run(session, run.id)


@pytest.mark.parametrize("second", [add_one, add_two_and_count])
@pytest.mark.parametrize("first", [add_one, add_two_and_count])
def test_a_change_waits_for_the_one_before_and_is_counted_with_it(
    app: flask.Flask,
    ann: Any,
    session: Session,
    first: Callable[[Session, Run, str], None],
    second: Callable[[Session, Run, str], None],
) -> None:
    run = session.get_one(Run, uuid.UUID(ann.run()["id"]))
    first(session, run, "failed")

    def change() -> None:
        with Session(app.extensions["ibutsu_engine"]) as other:
            second(other, run, "passed")
            other.commit()

    thread = threading.Thread(target=change)
    thread.start()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with app.extensions["ibutsu_engine"].connect() as looking:
        while thread.is_alive() and not looking.scalar(sa.text(waits)):
            looking.rollback()
    assert thread.is_alive(), "The second change did not wait for the first."
    session.commit()
    thread.join()
    assert session.get_one(Run, run.id, populate_existing=True).summary == counted(session, run.id, 0)


def test_an_import_that_goes_on_keeps_nobody_from_the_run_and_overwrites_nothing(
    app: flask.Flask, ann: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "FLUSH_SIZE", 1)
    sa.event.listen(
        app.extensions["ibutsu_engine"], "begin", lambda one: one.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
    )
    run = ann.run(summary={"collected": 50})
    run_id = uuid.UUID(run["id"])
    replaced, changed = ann.result(run), ann.result(run)
    loader, import_id = begun(session, ann.project, run_id)
    for one in (replaced["id"], str(uuid.uuid4())):
        loader.add_result(ResultRecord(uuid.UUID(one).bytes, run_id, "t", "failed", None, 1.0, None, {}))
    assert ann.put(f"/run/{run['id']}", {"metadata": {"a": {"b": 1}}, "summary": {"collected": 9}}).status_code == 200
    assert ann.put(f"/result/{changed['id']}", {"result": "error"}).status_code == 200
    ann.result(run, result="skipped")
    assert ann.put(f"/result/{replaced['id']}", {"result": "passed"}).status_code == 503, "The import has this one."
    loader.finish(import_id, format="archive", data={})
    session.commit()
    stored = ann.get(f"/run/{run['id']}").get_json()
    assert stored["metadata"] == {"a": {"b": 1, "c": 2}}
    assert stored["summary"] == counted(session, run_id, 9) | {"failures": 2, "errors": 1, "skips": 1}


def begun(
    session: Session, project: Project, run_id: uuid.UUID, **metadata: Any
) -> tuple[load.ReportLoader, uuid.UUID]:
    """Begin with an import into the run, in the session's transaction."""
    project = session.get_one(Project, project.id)
    row = Import(id=uuid.uuid4(), filename="r", format="archive", size=0, sha256="", project_id=project.id)
    session.add(row)
    session.commit()
    loader = load.ReportLoader(
        session, project=project, find_project=lambda _: project, form=load.Form(),
        now=dt.datetime.now(dt.UTC), keeps_sources=True,
    )  # fmt: skip
    loader.begin(RunRecord(id=run_id, summary=LIES, metadata=metadata or {"a": {"c": 2}}))
    return loader, row.id


class Crowd:
    """Threads that change three runs and their results in all ways at once."""

    def __init__(self, app: flask.Flask, person: Any, operations: int) -> None:
        self.app = app
        self.person = person
        self.operations = operations
        self.runs = [person.run(summary={"collected": 50}) for _ in range(3)]
        self.results = [person.result(run)["id"] for run in self.runs for _ in range(3)]
        self.keys: dict[str, set[str]] = {run["id"]: set() for run in self.runs}
        self.problems: list[Any] = []

    def go(self) -> None:
        threads = [threading.Thread(target=self._act, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _act(self, number: int) -> None:
        draw = random.Random(number)
        person = self.person
        acts: list[Callable[[random.Random, dict[str, Any], str], None]] = [
            self.post, self.post, self.change, self.change, self.move, self.update, self.bulk, self.load, self.prune,
        ]  # fmt: skip
        try:
            for count in range(self.operations):
                draw.choice(acts)(draw, draw.choice(self.runs), f"{person.user.name}{number}-{count}")
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.problems.append(repr(error))

    def ask(self, status: tuple[int, ...], method: str, path: str, body: dict[str, Any]) -> Any:
        client = self.app.test_client()
        headers = {"Authorization": f"Bearer {self.person.token}"}
        response = client.open(f"/api{path}", method=method, json=body, headers=headers)
        if response.status_code not in status:
            self.problems.append((method, path, body, response.status_code, response.text))
        return response.get_json()

    def post(self, draw: random.Random, run: dict[str, Any], _key: str) -> None:
        result_id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        self.results.append(result_id)  # Others may be faster.
        body = {"id": result_id, "run_id": run["id"], "project_id": run["project_id"], "result": draw.choice(WORDS)}
        self.ask((201, 409), "POST", "/result", body | {"duration": draw.randrange(5)})

    def change(self, draw: random.Random, _run: dict[str, Any], _key: str) -> None:
        body = {"result": draw.choice(WORDS), "duration": draw.randrange(5)}
        self.ask((200, 404), "PUT", f"/result/{draw.choice(self.results)}", body)

    def move(self, draw: random.Random, run: dict[str, Any], _key: str) -> None:
        self.ask((200, 404), "PUT", f"/result/{draw.choice(self.results)}", {"run_id": run["id"]})

    def update(self, draw: random.Random, run: dict[str, Any], key: str) -> None:
        project = str(draw.choice([self.person.project.id, run["project_id"]]))
        body = {"summary": LIES | {"collected": 50}, "metadata": {"keys": {key: 1}, "project": project}}
        self.ask((200,), "PUT", f"/run/{run['id']}", body)
        self.keys[run["id"]].add(key)

    def bulk(self, draw: random.Random, _run: dict[str, Any], key: str) -> None:
        size = draw.choice([2, 3])
        answer = self.ask((200,), "POST", f"/runs/bulk-update?pageSize={size}", {"metadata": {"keys": {key: 1}}})
        for run in answer.get("runs", []):
            self.keys[run["id"]].add(key)

    def load(self, draw: random.Random, run: dict[str, Any], key: str) -> None:
        """Import into the run: results that exist, in any order, and new ones."""
        run_id = uuid.UUID(run["id"])
        ids = draw.sample(self.results, min(4, len(self.results)))
        ids += [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(2)]
        with Session(self.app.extensions["ibutsu_engine"]) as session, contextlib.suppress(load.RefusedError):
            loader, import_id = begun(session, self.person.project, run_id, keys={key: 1})
            for one in ids:
                word: Any = draw.choice(WORDS)
                loader.add_result(ResultRecord(uuid.UUID(one).bytes, run_id, "t", word, None, 1.0, None, {}))
            assert loader.finish(import_id, format="archive", data={}) is not None
            session.commit()
            self.keys[run["id"]].add(key)
            self.results += ids[-2:]

    def prune(self, _draw: random.Random, _run: dict[str, Any], _key: str) -> None:
        """Prune the results of a run of old, stored just now."""
        then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        with Session(self.app.extensions["ibutsu_engine"]) as session:
            run = Run(id=uuid.uuid4(), project_id=self.person.project.id, start_time=then, summary={})
            session.add(run)
            session.flush()
            session.add_all(Result(run_id=run.id, project_id=run.project_id, start_time=then) for _ in range(3))
            session.flush()
            summary.update_run(session, run.id)
            session.commit()
            prune_results(session.get_bind(), now=then.replace(month=7))
            assert session.get_one(Run, run.id, populate_existing=True).summary["tests"] == 3  # type: ignore[index]


@pytest.mark.parametrize("operations", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_whatever_many_do_at_once_is_counted_and_nothing_is_lost(
    app: flask.Flask, ann: Any, session: Session, operations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An import writes rows of results several times before it ends.
    monkeypatch.setattr(load, "FLUSH_SIZE", 1)
    crowd = Crowd(app, ann, operations)
    crowd.go()
    assert crowd.problems == []
    for run in crowd.runs:
        stored = ann.get(f"/run/{run['id']}").get_json()
        assert stored["summary"] == counted(session, uuid.UUID(run["id"]), 50)
        assert set(stored["metadata"].get("keys", {})) >= crowd.keys[run["id"]], "An update of the run was lost."
        assert stored["duration"] == duration_of(session, uuid.UUID(run["id"]))
    assert summary.untrue_runs(session, hours=1) == []
    assert session.scalar(sa.select(sa.func.count()).select_from(Result)) > 9


HOLDER = """
import sys, psycopg2, time
connection = psycopg2.connect(sys.argv[1])
cursor = connection.cursor()
cursor.execute(sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_process_leaves_neither_a_lock_nor_half_a_change(
    ann: Any, session: Session, database: DatabaseSettings
) -> None:
    run = ann.run()
    result = ann.result(run)
    dsn = psycopg2.extensions.make_dsn(
        host=database.host, port=database.port, user=database.user, password=database.password,
        dbname=database.database,
    )  # fmt: skip
    change = f"""
        UPDATE results SET result = 'failed' WHERE id = '{result["id"]}';
        {summary.IMPORT_LOCK.replace(":run_id", f"'{run['id']}'")};
        {summary.LOCK.replace(":run_id", f"'{run['id']}'")};
        UPDATE runs SET summary = '{{}}' WHERE id = '{run["id"]}'
    """
    with subprocess.Popen([sys.executable, "-c", HOLDER, dsn, change], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.send_signal(signal.SIGKILL)
    assert ann.put(f"/result/{result['id']}", {"result": "error"}).status_code == 200
    ann.result(run)
    updated = ann.put(f"/run/{run['id']}", {"metadata": {"seen": True}})
    assert updated.status_code == 200
    assert updated.get_json()["summary"] == counted(session, uuid.UUID(run["id"]), 0)
