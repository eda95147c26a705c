"""`ibutsu maintenance`, from the shell's side, on a real API."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import accounts, local
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Maintenance

SLOT = dt.datetime(2026, 5, 16, 4, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(gunicorn: tuple[str, int], database: DatabaseSettings) -> Run:
    """Run the command as a superadmin, on a ledger in which one entry fails since a week; or with the given token."""
    access = local.ensure_local_access(database, email="admin@example.com", password="secret")
    week = dt.timedelta(days=7)
    times = {"started": SLOT, "finished": SLOT + 2 * SECOND, "worker": "celery@w", "attempts": 1}
    rows = [
        Maintenance(entry="prune", slot=SLOT, error="The database has no table.", **times),
        Maintenance(entry="prune", slot=SLOT - week, counts={"runs": 3}, bytes=2_500_000,
                    **{**times, "finished": SLOT - week, "started": SLOT - week - SECOND, "attempts": 2}),
        Maintenance(entry="sync", slot=SLOT, counts={"sent": 0}, **times | {"finished": SLOT + SECOND}),
        Maintenance(started=SLOT, worker="celery@w", attempts=1),
    ]  # fmt: skip
    engine = create_engine(database, application="tests")
    with Session(engine) as session, session.begin():
        for row in rows:
            row.task, row.task_id = "ibutsu_server.tasks.db.prune", str(uuid.uuid4())
        session.add_all(rows)
    engine.dispose()

    def run(*arguments: str, token: str = access.token) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "IBUTSU_URL": f"http://{gunicorn[0]}", "IBUTSU_TOKEN": token}
        command = [sys.executable, "-W", "error", "-m", "ibutsu_server.cli", "maintenance", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    return run


def test_the_ledger_is_listed_and_a_failing_entry_says_when_it_last_succeeded(
    run: Run, database: DatabaseSettings
) -> None:
    listed = run()
    assert [line.split("\t") for line in listed.stdout.splitlines()] == [
        ["db.prune", "", "running", "2026-05-16T04:00:00Z", "", "celery@w", ""],
        ["prune", "2026-05-16T04:00:00Z", "error", "2026-05-16T04:00:00Z", "2.000 s", "celery@w",
         "The database has no table."],
        ["sync", "2026-05-16T04:00:00Z", "done", "2026-05-16T04:00:00Z", "1.000 s", "celery@w", "sent 0"],
        ["prune", "2026-05-09T04:00:00Z", "done", "2026-05-09T03:59:59Z", "1.000 s", "celery@w",
         "runs 3, bytes 2500000, attempts 2"],
    ]  # fmt: skip
    assert listed.stderr == "prune fails; it last succeeded at 2026-05-09T04:00:00Z.\n"
    assert [line.split("\t")[2] for line in run("--entry", "prune", "--status", "done").stdout.splitlines()] == ["done"]
    assert len(run("--count", "2").stdout.splitlines()) == 2
    engine = create_engine(database, application="tests")
    with Session(engine) as session, session.begin():
        user = accounts.ensure_user(session, email="ann@example.com", password="secret")
        token = accounts.create_token(session, user, name="test")
    engine.dispose()
    refused = run(token=token)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("forbids it: Only superadmins can do this.\n")
