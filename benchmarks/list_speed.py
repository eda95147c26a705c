"""What a page of results costs the database among a million of them, and by which index it is found.

    python benchmarks/list_speed.py [RUNS]

The table is filled with RUNS (300) runs of 3,334 results in five projects, the last of which has six tenths of them.
Each list is asked for through the API, as a member of two projects, and the very statements that it sent are then
explained: the milliseconds are those of EXPLAIN (ANALYZE), the best of three. A page that reads the whole table without
an index ends the script with an error, but for SCANNED: there is no index that a regular expression could use.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import common
import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from ibutsu_core.settings import Application, CelerySettings, DatabaseSettings, Settings
from ibutsu_server import api
from ibutsu_server.applications import create_flask
from ibutsu_server.store import accounts
from ibutsu_server.store.models import Project, ProjectMember, User

PROJECTS = """
    INSERT INTO projects (id, name) SELECT gen_random_uuid(), 'project-' || n FROM generate_series(0, 4) AS n
"""
RUNS = """
    INSERT INTO runs (id, start_time, source, component, env, project_id, summary, metadata)
    SELECT gen_random_uuid(), '2026-01-01'::timestamptz + n * interval '1 hour', 'ci-' || n % 3, 'component-' || n % 4,
           CASE WHEN n = 14 THEN 'rare' WHEN n % 3 = 0 THEN 'stage' ELSE 'prod' END, projects.id, '{}',
           jsonb_build_object('project', projects.name,
                              'jenkins', jsonb_build_object('job_name', 'job-' || n % 3, 'build_number', n))
    FROM generate_series(0, :runs - 1) AS n JOIN projects ON projects.name = 'project-' || least(n % 10, 4)
"""
# Every other run is of pytest, the rest of JUnit reports: all of a run's results have one time. A ticket is rare.
RESULTS = r"""
    INSERT INTO results
           (id, run_id, project_id, test_id, result, start_time, duration, source, component, env, metadata)
    SELECT gen_random_uuid(), run.id, run.project_id, format('shop.test_module_%s.TestCart.test_total[%s]', i / 50, i),
           CASE WHEN h % 1000 < 960 THEN 'passed' WHEN h % 1000 < 990 THEN 'failed'
                WHEN h % 1000 < 999 THEN 'skipped' ELSE 'error' END,
           run.start_time + run.build % 2 * i * interval '50 ms', h % 997 / 100.0, run.source, run.component, run.env,
           jsonb_strip_nulls(run.metadata || jsonb_build_object(
               'run', run.id, 'fspath', format('tests/shop/test_module_%s.py', i / 50),
               'node_id', format('tests/shop/test_module_%s.py::TestCart::test_total[%s]', i / 50, i),
               'durations', jsonb_build_object('setup', h % 991 / 1e5, 'call', h % 99991 / 1e4),
               'statuses', '{"setup": ["passed", false], "call": ["passed", false]}'::jsonb,
               'markers', CASE WHEN i % 7 = 0 THEN '[{"name": "slow", "args": [], "kwargs": {}}]'::jsonb END,
               'tags', CASE WHEN i % 10 = 0 THEN jsonb_build_array('smoke') END,
               'ticket', CASE WHEN h % 100000 = 17 THEN 'BUG-' || i % 3 END,
               'exception_name', CASE WHEN h % 1000 BETWEEN 960 AND 989 THEN 'AssertionError' END,
               'short_tb', CASE WHEN h % 1000 BETWEEN 960 AND 989 THEN repeat(E'E   assert 1 == 2\n', 15) END))
    FROM (SELECT runs.*, (metadata #>> '{jenkins,build_number}')::int AS build FROM runs ORDER BY start_time) AS run,
    LATERAL (SELECT i, abs(hashint8(i::bigint * 7919 + build * 104729)) AS h FROM generate_series(0, 3333) AS i) AS test
"""

BIG = "project_id={project}"
LISTS: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
    ("newest of a project", [BIG], {}),
    ("newest of a project, by its name", ["metadata.project=project-4"], {}),
    ("newest of all one's projects", [], {}),
    ("of a run", ["run_id={run}"], {}),
    ("of a run, failed", ["run_id={run}", "result=failed"], {}),
    ("of a project, failed", [BIG, "result=failed"], {}),
    ("of a project, error (1 in 1,000)", [BIG, "result=error"], {}),
    ("of an environment and a component", [BIG, "env=prod", "component=component-1"], {}),
    ("of a rare environment", [BIG, "env=rare"], {}),
    ("history of a test", [BIG, "test_id=shop.test_module_7.TestCart.test_total[351]"], {}),
    ("last failures of a test", [BIG, "test_id=shop.test_module_7.TestCart.test_total[351]", "result=failed"], {}),
    ("of a week, failed", [BIG, "start_time>2026-01-03", "start_time<2026-01-10", "result=failed"], {}),
    ("rare metadata (3 in a million)", [BIG, "metadata.ticket=BUG-1"], {}),
    ("rare metadata, no project", ["metadata.ticket=BUG-1"], {}),
    ("rare metadata, passed", [BIG, "metadata.ticket=BUG-1", "result=passed"], {}),
    ("metadata that is nowhere", [BIG, "metadata.ticket=BUG-1000"], {}),
    ("a build's, by its number", [BIG, "metadata.jenkins.build_number=34"], {}),
    ("frequent metadata, failed", [BIG, "metadata.jenkins.job_name=job-1", "result=failed"], {}),
    ("of a file", [BIG, "metadata.fspath=tests/shop/test_module_7.py"], {}),
    ("with a tag", [BIG, "metadata.tags=smoke"], {}),
    ("with one of two tickets", [BIG, "metadata.ticket*BUG-1;BUG-2"], {}),
    ("metadata exists", [BIG, "metadata.exception_name@y"], {}),
    ("regular expression, frequent", [BIG, r"test_id~module_6[0-9]\."], {}),
    ("regular expression, nowhere", [BIG, "test_id~no_such_test$"], {}),
    ("slower than 9.9 s", [BIG, "duration>9.9"], {}),
    ("page 1,000 of 25", [BIG], {"page": 1000}),
    ("page 10,000 of 25", [BIG], {"page": 10000}),
)

SCANNED = "regular expression, nowhere"


def fill(session: Session, runs: int) -> None:
    """Fill the tables."""
    for statement in (PROJECTS, RUNS, RESULTS):
        session.execute(sa.text(statement), {"runs": runs} if ":runs" in statement else {})
    session.commit()


def people(session: Session) -> dict[str, str]:
    """Make a member of two projects, and a superadmin; return their tokens."""
    member = accounts.ensure_user(session, email="member@example.com", password="secret", is_superadmin=False)
    for name in ("project-1", "project-4"):
        project = session.scalars(sa.select(Project.id).where(Project.name == name)).one()
        session.add(ProjectMember(project_id=project, user_id=member.id))
    admin = session.scalars(sa.select(User).where(User.is_superadmin)).first()
    assert admin is not None
    tokens = {name: accounts.create_token(session, user, name="benchmark")
              for name, user in (("member", member), ("superadmin", admin))}  # fmt: skip
    session.commit()
    return tokens


class Explained:
    """Remembers the statements on the results that the engine sends, and explains them."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.statements: list[str] = []
        sa.event.listen(engine, "after_cursor_execute", self._remember)

    def _remember(self, _connection: Any, cursor: Any, *_rest: Any) -> None:
        statement = cursor.query.decode()
        if "FROM results" in statement:
            self.statements.append(statement)

    def take(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
        """Return the plans of pages and of counts since the last time, and the milliseconds of mere planning."""
        statements, self.statements = self.statements, []
        connection: Any = self.engine.raw_connection()
        pages: list[dict[str, Any]] = []
        counts: list[dict[str, Any]] = []
        planning = 0.0
        with connection.cursor() as cursor:
            for statement in statements:
                if statement.startswith("EXPLAIN"):
                    start = time.perf_counter()
                    cursor.execute(statement)
                    planning += 1000 * (time.perf_counter() - start)
                else:
                    plan = min((self._plan(cursor, statement) for _ in range(3)), key=lambda one: one["Execution Time"])
                    (counts if statement.startswith("SELECT count") else pages).append(plan)
        connection.close()
        return pages, counts, planning

    @staticmethod
    def _plan(cursor: Any, statement: str) -> dict[str, Any]:
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + statement)
        plan: dict[str, Any] = cursor.fetchone()[0][0]
        return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def ask(client: FlaskClient, token: str, filters: list[str], options: dict[str, Any]) -> None:
    """Ask for a list of results."""
    headers = {"Authorization": f"Bearer {token}"}
    response = client.get("/api/result", query_string={"filter": filters, **options}, headers=headers)
    assert response.status_code == 200, response.text


def measure(database: DatabaseSettings) -> bool:
    """Print a line for each list; return whether an index was used for each page."""
    celery = CelerySettings(broker_url="redis://127.0.0.1:1/0", result_backend="redis://127.0.0.1:1/0")
    app = create_flask(Settings(application=Application.BACKEND, celery=celery, database=database))
    api.register(app)
    engine = app.extensions["ibutsu_engine"]
    with Session(engine) as session:
        tokens = people(session)
        project = session.scalar(sa.text("SELECT id FROM projects WHERE name = 'project-4'"))
        run = session.scalar(sa.text("SELECT id FROM runs WHERE metadata #> '{jenkins,build_number}' = '14'"))
        count = session.scalar(sa.text("SELECT count(*) FROM results"))
    explained = Explained(engine)
    client = app.test_client()
    print(f"{count:,} results, pages of 25; milliseconds of the database\n")
    print(f"{'list':<36}{'page':>10}{'planning':>10}{'count':>10}{'estimate':>10}  found by")
    found = True
    cases = [("member", *case) for case in LISTS] + [("superadmin", "newest of everything", [], {})]
    for who, title, filters, options in cases:
        filled = [text.format(project=project, run=run) if "{" in text else text for text in filters]
        ask(client, tokens[who], filled, options)
        pages, counting, _ = explained.take()
        ask(client, tokens[who], filled, {**options, "estimate": "true"})
        _, counting_briefly, planning = explained.take()
        everything = [node for one in pages for node in nodes(one["Plan"])]
        used = dict.fromkeys(node["Index Name"] for node in everything if "Index Name" in node)
        if any(node["Node Type"] == "Seq Scan" and node["Relation Name"] == "results" for node in everything):
            found, used = found and title == SCANNED, {"no index": None}
        times = [sum(one[name] for one in pages) for name in ("Execution Time", "Planning Time")]
        counts = [sum(one["Execution Time"] for one in plans) + more if plans else None
                  for plans, more in ((counting, 0.0), (counting_briefly, planning))]  # fmt: skip
        numbers = "".join(f"{'-' if one is None else format(one, '.2f'):>10}" for one in (*times, *counts))
        print(f"{title:<36}{numbers}  {', '.join(used)}")
    return found


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with common.servers() as servers:
        with common.session(servers) as session:
            fill(session, runs)
            session.connection().connection.driver_connection.autocommit = True  # type: ignore[union-attr]
            session.execute(sa.text("VACUUM ANALYZE"))
        sys.exit(0 if measure(servers.database) else "A page was found without an index.")
