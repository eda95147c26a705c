"""What `ibutsu doctor` thinks of what it saw: pure rules."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ibutsu_core
import ibutsu_server
from ibutsu_core.celery_utils import TASK_MODULES
from ibutsu_core.redaction import AS_A_WORD
from ibutsu_core.schedule import Entry, Every, beat_entries, latest_due
from ibutsu_core.settings import VARIABLES, Application
from ibutsu_server.ops import identity, reasons
from ibutsu_server.ops.doctor import (
    broker_rules,
    database_rules,
    examination,
    process_rules,
    report,
    schedule_rules,
    subject,
)  # fmt: skip
from ibutsu_server.ops.doctor.broker import BrokerFacts
from ibutsu_server.ops.doctor.examination import Observed
from ibutsu_server.ops.doctor.facts import DatabaseFacts, LedgerRow, Long, Session, WorkerFacts
from ibutsu_server.ops.doctor.finding import EXIT_CODES, Finding, Status, worst
from ibutsu_server.ops.doctor.mends import Advice, Mends
from ibutsu_server.ops.doctor.subject import Subject
from ibutsu_server.ops.doctor.trouble import Trouble
from ibutsu_server.ops.identity import Identity

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
HERE = Advice(kubernetes=False, host="127.0.0.1", port=1)

ORDER = list(Status)

statuses = st.sampled_from(ORDER)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
findings = st.lists(
    st.builds(Finding, check=texts, status=statuses, message=texts, cause=st.none() | texts, mend=st.none() | texts),
    min_size=1,
    max_size=5,
)

REDIS = BrokerFacts(
    address="127.0.0.1:1", version="8", memory=1, limit=None, policy="noeviction", append_only=True, disk_works=True,
    keys=1, evicted=0, sampled=0, lasting=0, waiting=0, oldest=None, unacknowledged=0, ahead=0.0,
)  # fmt: skip
DATABASE = DatabaseFacts(
    address="127.0.0.1:1", version="18", version_number=180000, now=NOW, ahead=0.0, size=1, used=1, connections=100,
    read_only=False, refuses=None, revision="0007", expected="0007", sessions=(), long=(),
)  # fmt: skip


def status_of(found: list[Finding], check: str) -> Status:
    (one,) = (finding for finding in found if finding.check == check)
    return one.status


@given(findings)
def test_the_worst_finding_decides_and_what_was_skipped_spoils_nothing(found: list[Finding]) -> None:
    looked_at = [one for one in found if one.status is not Status.SKIPPED]
    assert worst(found) == max((one.status for one in looked_at), key=ORDER.index, default=Status.OK)
    assert EXIT_CODES[worst(found)] == {"ok": 0, "warning": 1, "failure": 2}[worst(found)]


@given(findings, st.text(string.ascii_letters, min_size=AS_A_WORD, max_size=9), texts)
def test_no_report_holds_a_secret_whatever_a_sentence_says(found: list[Finding], secret: str, text: str) -> None:
    told = [dataclasses.replace(found[0], message=f"{text} {secret}", cause=secret, mend=f"x {secret}"), *found]
    clean = report.clean(told, [secret, ""])
    word = re.compile(rf"(?<!\w){secret}(?!\w)")
    assert not [one for one in clean if word.search("\n".join((one.message, one.cause or "", one.mend or "")))]
    assert [one.status for one in clean] == [one.status for one in told]


@given(findings)
def test_json_has_all_findings_in_their_order_and_the_exit_code(found: list[Finding]) -> None:
    told = json.loads(report.document(found, 1.23456))
    assert list(told) == ["status", "exit_code", "version", "seconds", "findings"]
    assert [Finding(**one | {"status": Status(one["status"])}) for one in told["findings"]] == found
    assert EXIT_CODES[Status(told["status"])] == told["exit_code"]


def test_a_terminal_without_the_marks_gets_others_and_what_was_skipped_alike_one_line() -> None:
    found = [
        Finding(check=check, status=status, message="So.")
        for check, status in (("a", Status.SKIPPED), ("b", Status.FAILURE), ("c", Status.SKIPPED), ("d", Status.OK))
    ]
    lines = [line.encode("ascii", "replace").decode() for line in report.lines(found, "ascii")]
    assert [line.partition("  ")[2] for line in lines] == ["So. Nor was: c.", "So.", "So.", ""]
    assert lines[-1] == "1 failed, 1 fine, 2 skipped."
    assert ["+" in lines[2], "x" in lines[1]] == [True, True]


@given(st.builds(Identity, st.sampled_from(Application), st.from_regex(r"[0-9a-z.+]{1,20}", fullmatch=True),
                 st.from_regex(r"[0-9a-f]{8}", fullmatch=True)))  # fmt: skip
def test_an_identity_is_read_as_it_was_told_and_fits_into_postgresqls_name(one: Identity) -> None:
    assert Identity.of(str(one)) == one
    assert len(str(one)) < 64


@given(texts)
def test_what_is_no_identity_is_none(name: str) -> None:
    assert Identity.of(name) is None


def test_the_place_of_a_broker_does_not_depend_on_its_password_or_on_what_is_left_out() -> None:
    same = {identity.broker_place(url) for url in ("redis://:a@Redis:6379/0", "rediss://redis", "redis://u:b@redis/")}
    other = {identity.broker_place(url) for url in ("redis://redis:6380/0", "redis://redis/1", "redis://redis.svc")}
    assert (len(same), len(other), len(same | other)) == (1, 3, 4)


@given(st.floats(0, 100), st.floats(1, 100))
def test_the_fuller_redis_is_the_worse_it_is(used: float, more: float) -> None:
    def status(memory: float) -> int:
        facts = dataclasses.replace(REDIS, memory=int(memory * 100), limit=10_000)
        return ORDER.index(status_of(list(broker_rules.kept(facts, HERE)), "redis-memory"))

    assert status(used) <= status(used + more)
    assert (status(0), status(80), status(95)) == tuple(map(ORDER.index, (Status.OK, Status.WARNING, Status.FAILURE)))


@given(st.integers(0, 10**6), st.sampled_from([None, 0, 3]))
@example(broker_rules.LONG_WAIT, 0)
@example(broker_rules.LONGER_WAIT, 3)
def test_the_longer_a_task_waits_the_worse_it_is(seconds: int, workers: int | None) -> None:
    facts = dataclasses.replace(REDIS, waiting=1, oldest=NOW - dt.timedelta(seconds=seconds))
    found = broker_rules.queue(facts, NOW, workers=workers, advice=HERE)
    late = seconds >= broker_rules.LONG_WAIT, seconds >= broker_rules.LONGER_WAIT
    assert found.status == {0: Status.OK, 1: Status.WARNING, 2: Status.FAILURE}[sum(late)]
    if late[0]:
        assert ("worker_app" in str(found.mend)) == (workers == 0)


def session(application: Application, idle: float = 0.0, **changes: Any) -> Session:
    one = Identity(application, "0.1.0", "0" * 8)
    return Session(dataclasses.replace(one, **changes), 1, "10.0.0.1", idle)


@given(st.integers(0, 4), st.integers(0, 2))
def test_there_is_exactly_one_scheduler_and_what_hangs_is_none(active: int, hung: int) -> None:
    sessions = [session(Application.SCHEDULER)] * active + [session(Application.SCHEDULER, 1000.0)] * hung
    found = schedule_rules.schedulers([*sessions, session(Application.WORKER), session(Application.BACKEND)], HERE)
    assert found.status == (Status.FAILURE if active == 0 else Status.OK if active == 1 else Status.WARNING)
    assert ("hangs" in str(found.cause)) == (active == 0 and hung > 0)


@given(
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=30)),
    st.sampled_from(["skipped", "running", "waiting", "done", "error"]),
    st.none() | texts,
)
@example(dt.timedelta(minutes=29), "done", None)
@example(dt.timedelta(minutes=31), "done", None)
def test_an_entry_is_overdue_when_its_newest_due_slot_lacks_and_else_its_status_decides(
    age: dt.timedelta, status: str, error: str | None
) -> None:
    entry = Entry("every", "task", Every(dt.timedelta(minutes=30)))
    slot = latest_due(entry.schedule, NOW - age)
    row = LedgerRow(entry="every", slot=slot, status=status, error=error, started=slot, succeeded=None)
    (found,) = schedule_rules.maintenance([entry], {"every": row}, NOW, HERE)
    overdue = slot < latest_due(entry.schedule, NOW - schedule_rules.GRACE)
    assert ("overdue" in found.message) == overdue
    if not overdue:
        worse = Status.WARNING if status == "waiting" and error else Status.OK
        assert found.status == (Status.FAILURE if status == "error" else worse)
    assert all(letter.isprintable() for letter in f"{found.message}{found.cause}")


def test_each_entry_that_the_ledger_lacks_is_named() -> None:
    found = list(schedule_rules.maintenance(beat_entries(), {}, NOW, HERE))
    assert [one.message.split()[0] for one in found] == [entry.name for entry in beat_entries()]
    assert {one.status for one in found} == {Status.FAILURE}


@pytest.mark.parametrize(
    ("changes", "check", "status", "said"),
    [
        ({"version_number": 140012}, "database-version", "warning", "version"),
        ({"used": 95}, "database-connections", "warning", "95 of 100"),
        ({"refuses": "53100"}, "database", "failure", "no space left"),
        ({"refuses": "58030"}, "database", "failure", "SQLSTATE 58030"),
        ({"read_only": True}, "database", "failure", "takes no writes"),
        ({"revision": None}, "schema", "failure", "has no schema"),
        ({"long": (Long(7, "ibutsu-worker", 400.0, 399.0),)}, "database-transactions", "warning", "done nothing"),
        ({"long": (Long(7, "psql", 4000.0, None),)}, "database-transactions", "warning", "psql (process 7"),
        ({"long": (Long(7, "psql", 4000.0, 10.0), Long(8, "", 100.0, None))}, "database-transactions", "ok", "No"),
    ],
)
def test_what_postgresql_tells_is_judged(changes: dict[str, Any], check: str, status: str, said: str) -> None:
    found = {one.check: one for one in database_rules.reached(dataclasses.replace(DATABASE, **changes), HERE)}
    assert (found[check].status, said in found[check].message) == (status, True)


ALL_TASKS = tuple(f"{module}.task" for module in TASK_MODULES)


@given(st.sets(st.sampled_from(TASK_MODULES)))
def test_a_worker_that_lacks_a_module_of_tasks_is_named_with_it(lacking: set[str]) -> None:
    tasks = tuple(task for task in ALL_TASKS if task.rpartition(".")[0] not in lacking)
    known = {"a": ALL_TASKS, "b": tasks}
    workers = tuple(WorkerFacts(name=name, version="1", tasks=one) for name, one in known.items())
    found = list(process_rules.workers(workers, (), "1", HERE))
    assert status_of(found, "tasks") == (Status.FAILURE if lacking else Status.OK)
    assert all(module in found[1].message for module in lacking)


def test_workers_and_processes_of_other_versions_are_named() -> None:
    workers = (WorkerFacts(name="old"), WorkerFacts(name="new", version="2", tasks=ALL_TASKS))
    found = {one.check: one for one in process_rules.workers(workers, (), "1", HERE)}["worker-versions"]
    assert found.status is Status.WARNING
    assert found.message == "Of another version than this one, 1: old (older), new (2)."
    sessions = (session(Application.BACKEND, version="0.2.0"), session(Application.SCHEDULER))
    (other,) = process_rules.processes(sessions, "0.1.0", HERE)
    assert other.message == "Of another version than this one, 0.1.0: backend at 10.0.0.1 (0.2.0)."


@given(st.dictionaries(st.sampled_from(["Redis", "PostgreSQL"]), st.floats(-10, 10), min_size=1))
def test_clocks_that_differ_are_named(ahead: dict[str, float]) -> None:
    found = process_rules.clocks(ahead, HERE)
    off = {name for name, seconds in ahead.items() if abs(seconds) > process_rules.SKEW}
    assert found.status == (Status.WARNING if off else Status.OK)
    assert all(name in found.message for name in off)


@given(st.sampled_from(Mends), st.booleans(), texts)
def test_each_mend_is_one_command_whatever_is_filled_in(mend: Mends, kubernetes: bool, text: str) -> None:
    values = {"name": text, "value": text, "variable": text, "number": 2, "pid": 1, "entry": text}
    command = Advice(kubernetes, text, 1).command(mend, **values)
    assert command.split()[0] in {
        "kubectl", "ibutsu", "export", "getent", "psql", "createdb", "df", "redis-cli", "celery", "ps", "make",
        "timedatectl",
    }  # fmt: skip


KINDS = [kind for _, kind, _ in reasons._BROKER], [kind for _, kind, _ in reasons._DATABASE]


def test_each_reason_has_its_cause_and_mend() -> None:
    assert [set(KINDS[0]), set(KINDS[1])] == [set(broker_rules.TROUBLES), set(database_rules.TROUBLES)]


SEEN = st.builds(
    Observed,
    broker=st.none() | st.just(REDIS) | st.builds(Trouble, st.sampled_from(KINDS[0]), texts),
    result_backend=st.none() | st.just(REDIS),
    database=st.none() | st.just(DATABASE) | st.builds(Trouble, st.sampled_from(KINDS[1]), texts),
    workers=st.none() | st.just(()) | st.just((WorkerFacts(name="a"),)) | st.builds(Trouble, texts, texts),
    flower=st.none() | st.builds(Trouble, texts, texts),
    api=st.none() | st.builds(Trouble, texts, texts),
)


@given(SEEN, st.booleans(), st.booleans())
def test_whatever_was_seen_each_check_has_a_line_and_what_is_wrong_a_cause(
    seen: Observed, kubernetes: bool, flower: bool
) -> None:
    one = Subject(broker_url="redis://redis", result_backend="redis://redis", wants_database=not flower)
    found = examination.judge(one, seen, kubernetes=kubernetes)
    always = {"broker", "result-backend", "result-expiry", "queue", "database", "workers", "flower", "api", "clocks"}
    assert always | {*broker_rules.CHECKS, *database_rules.CHECKS} <= {finding.check for finding in found}
    assert all(finding.cause and finding.mend for finding in found if finding.status in ("warning", "failure"))


def test_a_flower_that_may_be_unlocked_needs_no_login_and_no_database() -> None:
    environ = {name: text for name, text in VALUES.items() if name.startswith("CELERY_")}
    found = subject.read(environ | {subject.UNLOCKED: "true"}, read_file=lambda _: "")
    assert [one.status for one in found.findings] == [Status.OK]
    assert not found.wants_database


def test_no_variable_that_something_reads_is_called_a_slip_of_the_pen() -> None:
    sources = [path for package in (ibutsu_core, ibutsu_server) for path in Path(package.__path__[0]).rglob("*.py")]
    names = {name for path in sources for name in re.findall(r'"(IBUTSU_[A-Z_]*[A-Z])"', path.read_text())}
    assert len(names) > 5
    found = subject.read(dict.fromkeys(names, "1"), read_file=lambda _: "").findings
    assert [one.message for one in found if "nothing reads it" in one.message] == []


VALUES = {variable.name: variable.example for variable in VARIABLES if variable.required}


@given(st.sets(st.sampled_from(sorted(VALUES))))
def test_all_missing_variables_are_named_at_once(missing: set[str]) -> None:
    given_ = {name: text for name, text in VALUES.items() if name not in missing}
    flower = subject.is_flower(given_)
    found = subject.read(given_, read_file=lambda _: "").findings
    said = {one.message.split()[0] for one in found if one.status is Status.FAILURE}
    assert said == {name for name in missing if not (name == "FLOWER_BASIC_AUTH" or (flower and "POSTGRES" in name))}
    assert all(f"export {one.message.split()[0]}=" in str(one.mend) for one in found if one.status is Status.FAILURE)
