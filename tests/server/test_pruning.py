"""`ibutsu prune`, `ibutsu retention` and `ibutsu pin`, from the shell's side."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from freezegun import freeze_time
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.cli import main
from ibutsu_server.store import batches, local, models, projects
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Project, Run

Command = Callable[..., Result]

OLD = dt.datetime(2020, 2, 3, 4, 5, 6, tzinfo=dt.UTC)


@pytest.fixture
def ibutsu(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in a worker's environment, in this process: starting one costs more than all of its work."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner().invoke(main, arguments, env=environment | variables)

    return run


@pytest.fixture
def old(database: DatabaseSettings) -> list[uuid.UUID]:
    """Two projects, each with an old run that has a result; the runs' ids."""
    local.ensure_local_access(database, email="admin@example.com", password="secret")
    engine = create_engine(database, application="tests")
    runs = [uuid.uuid4(), uuid.uuid4()]
    with Session(engine) as session:
        first = projects.find(session, local.LOCAL_PROJECT)
        assert first is not None
        other = Project(id=uuid.uuid4(), name="other")
        session.add(other)
        session.flush()
        for key, project in zip(runs, (first, other), strict=True):
            session.add(Run(id=key, project_id=project.id, start_time=OLD, data={}))
            session.flush()
            session.add(models.Result(id=uuid.uuid4(), run_id=key, project_id=project.id, start_time=OLD, data={}))
        session.commit()
    engine.dispose()
    return runs


def runs_left(database: DatabaseSettings) -> set[uuid.UUID]:
    engine = create_engine(database, application="tests")
    with engine.connect() as connection:
        found = set(connection.scalars(sa.select(Run.id)))
    engine.dispose()
    return found


def test_a_dry_run_prints_the_table_that_pruning_prints(
    ibutsu: Command, database: DatabaseSettings, old: list[uuid.UUID]
) -> None:
    shown = ibutsu("prune", "--dry-run", "--project", "other")
    assert (shown.exit_code, shown.stderr) == (0, "")
    instant = "2020-02-03 04:05:06 UTC"
    assert shown.stdout.splitlines() == [
        "\tcount\tbytes\toldest\tnewest",
        "artifacts\t0\t0\t-\t-",
        "uploads\t0\t0\t-\t-",
        f"results\t1\t0\t{instant}\t{instant}",
        f"runs\t1\t0\t{instant}\t{instant}",
        "imports\t0\t0\t-\t-",
    ]
    assert runs_left(database) == set(old)
    assert ibutsu("prune", "--project", "other").stdout == shown.stdout
    assert runs_left(database) == {old[0]}
    assert "runs\t1\t" in ibutsu("prune").stdout
    assert runs_left(database) == set()


@pytest.mark.parametrize(
    "wrong",
    [
        (("--project", "nobody"), {}, "There is no project 'nobody'."),
        (("--artifacts", "5"), {}, "results must be kept for longer than artifacts"),
        (("--runs", "9"), {}, "never less than 10 months"),
        ((), {"IBUTSU_RETENTION_RESULTS_MONTHS": "3"}, "IBUTSU_RETENTION_RESULTS_MONTHS='3' is not a whole number"),
        ((), {"IBUTSU_RETENTION_RESULTS_MONTHS": "12"}, "runs must be kept for longer than results"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_touched(
    ibutsu: Command,
    database: DatabaseSettings,
    old: list[uuid.UUID],
    wrong: tuple[tuple[str, ...], dict[str, str], str],
) -> None:
    arguments, variables, said = wrong
    refused = ibutsu("prune", *arguments, **variables)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert said in refused.stderr
    assert runs_left(database) == set(old)


def test_what_is_pinned_or_has_a_policy_of_its_own_is_kept(
    ibutsu: Command, gunicorn: tuple[str, int], database: DatabaseSettings, old: list[uuid.UUID]
) -> None:
    token = ibutsu("token", "create", "--email", "admin@example.com", "--superadmin").stdout.strip()
    server = {"IBUTSU_URL": f"http://{gunicorn[0]}", "IBUTSU_TOKEN": token}
    assert ibutsu("pin", str(old[0]), **server).stdout == f"{old[0]} is pinned.\n"
    assert "no policy of its own" in ibutsu("retention", "other", **server).stdout
    kept = ibutsu("retention", "other", "--runs", "1200", **server)
    assert kept.stdout == "other keeps artifacts for 3 months, results for 5 months, runs for 1200 months.\n"
    assert ibutsu("prune").exit_code == 0
    assert runs_left(database) == set(old)
    assert ibutsu("unpin", str(old[0]), **server).stdout == f"{old[0]} is not pinned any more.\n"
    assert ibutsu("retention", "other", "--default", **server).exit_code == 0
    assert ibutsu("prune").exit_code == 0
    assert runs_left(database) == set()
    assert "not the id of a run" in ibutsu("pin", "x", **server).stderr


def test_what_ends_it_is_a_sentence_that_tells_what_is_deleted(
    ibutsu: Command, old: list[uuid.UUID], database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PATIENCE", 1)
    engine = create_engine(database, application="tests")
    with engine.connect() as other:
        other.execute(sa.text("LOCK TABLE runs IN SHARE MODE"))
        done = ibutsu("prune")
    engine.dispose()
    assert done.exit_code == 1
    assert done.output == (
        "Error: PostgreSQL ended it: canceling statement due to lock timeout. "
        "2 rows are deleted; call it again for the rest.\n"
    )
    assert runs_left(database) == set(old)


@pytest.mark.parametrize("name", ["a\x00b", "\udcff"])
def test_a_name_that_no_project_can_have_is_refused(ibutsu: Command, database: DatabaseSettings, name: str) -> None:
    done = ibutsu("prune", "--project", name)
    assert (done.exit_code, done.output) == (1, f"Error: There is no project {name!r}.\n")


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_clock_that_is_far_off_deletes_nothing(
    ibutsu: Command, database: DatabaseSettings, old: list[uuid.UUID], arguments: list[str]
) -> None:
    with freeze_time("2199-12-31 12:00"):
        done = ibutsu("prune", *arguments)
    assert done.exit_code == 1
    assert done.output.startswith("Error: The clock here says 2199-12-31 12:00:00 UTC, and PostgreSQL's says 20")
    assert runs_left(database) == set(old)
