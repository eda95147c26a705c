"""`ibutsu token` and `ibutsu db`, from the shell's side."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import migrate

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ibutsu(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run the command with nothing but the database in its environment."""
    only = {key: value for key, value in environment.items() if not key.startswith(("CELERY_", "FLOWER_"))}

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "ibutsu_server.cli", *arguments],
            env={key: value for key, value in (only | variables).items() if value},
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def test_a_token_that_the_server_accepts_is_all_that_is_printed(ibutsu: Command, gunicorn: tuple[str, int]) -> None:
    made = ibutsu("token", "create", "--email", "Ops@example.com", "--superadmin", "--expires", "2", "--name", "ops")
    assert (made.returncode, made.stderr) == (0, "")
    token = made.stdout.removesuffix("\n")
    expires = jwt.decode(token, options={"verify_signature": False})["exp"]
    assert 2 * 86400 - 60 < expires - time.time() <= 2 * 86400
    user = httpx.get(f"http://{gunicorn[0]}/api/user", headers={"Authorization": f"Bearer {token}"}, timeout=60).json()
    assert (user["email"], user["is_superadmin"]) == ("ops@example.com", True)


@pytest.mark.parametrize("arguments", [("--email", "nobody"), ("--email", "a@b", "--expires", "0"), ()])
def test_wrong_options_make_no_token(ibutsu: Command, arguments: tuple[str, ...]) -> None:
    made = ibutsu("token", "create", *arguments)
    assert (made.returncode, made.stdout) == (2, "")


def test_the_schema_is_shown_and_upgraded_again_without_harm(ibutsu: Command) -> None:
    shown = ibutsu("db", "current")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count(migrate.head()) == 2
    again = ibutsu("db", "upgrade")
    assert (again.returncode, again.stdout.endswith("as it was.\n")) == (0, True)


def test_who_waits_for_the_schema_goes_on_when_another_has_made_it(
    environment: dict[str, str], postgres_server: DatabaseSettings, execute: Callable[..., None]
) -> None:
    arguments = [sys.executable, "-W", "error", "-m", "ibutsu_server.cli", "db"]
    late = environment | {"POSTGRESQL_DATABASE": "late"}
    pipes: dict[str, Any] = {"env": late, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        subprocess.Popen([*arguments, "upgrade", "--wait", "120"], **pipes) as upgrade,
        subprocess.Popen([*arguments, "wait", "--timeout", "120"], **pipes) as wait,
    ):
        assert upgrade.stderr and wait.stderr
        for process in (upgrade, wait):
            assert "has no such database" in process.stderr.readline()
        execute(postgres_server, "CREATE DATABASE late TEMPLATE template0")
        try:
            made, _ = upgrade.communicate()
            waited, _ = wait.communicate()
        finally:
            execute(postgres_server, "DROP DATABASE late WITH (FORCE)")
    assert (upgrade.returncode, made) == (0, f"The schema is at {migrate.head()}; it was empty.\n")
    assert (wait.returncode, waited) == (0, f"The schema is at {migrate.head()}.\n")


def test_who_waits_in_vain_says_what_for(ibutsu: Command) -> None:
    for arguments, variables, said in (
        (("wait", "--timeout", "0"), {"POSTGRESQL_DATABASE": "template1"}, "The database has no schema yet"),
        (("wait", "--timeout", "1"), {"POSTGRESQL_PORT": "1"}, "1 s were waited for it."),
        (("upgrade", "--wait", "1"), {"POSTGRESQL_PORT": "1"}, "does not answer"),
    ):
        done = ibutsu("db", *arguments, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_newer_schema_is_waited_for_no_longer_and_left_as_it_is(
    ibutsu: Command, database: DatabaseSettings, execute: Callable[..., None]
) -> None:
    execute(database, "UPDATE alembic_version SET version_num = '9999'")
    waited = ibutsu("db", "wait")
    assert (waited.returncode, "at 9999" in waited.stdout) == (0, True), waited.stderr
    left = ibutsu("db", "upgrade")
    assert (left.returncode, left.stderr) == (0, "")
    assert left.stdout == "The schema is at 9999, which a newer version made; it is left as it is.\n"


def test_what_is_wrong_with_the_database_is_said_without_its_secrets(ibutsu: Command) -> None:
    for variables, said in (
        ({"POSTGRESQL_HOST": "", "POSTGRESQL_USER": ""}, "POSTGRESQL_USER (or POSTGRESQL_USER_FILE) is not set"),
        ({"POSTGRESQL_PORT": "1"}, "does not answer"),
        ({"POSTGRESQL_PASSWORD": "wrong"}, "refuses the user or the password"),
        ({"POSTGRESQL_DATABASE": "nowhere"}, "no such database"),
        ({"POSTGRESQL_DATABASE": "template1"}, "run `ibutsu db upgrade` first"),
    ):
        done = ibutsu("token", "create", "--email", "a@example.com", **variables)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr, done.stderr
        assert not any(value in done.stderr for value in ("wrong", "nowhere", "Traceback"))
