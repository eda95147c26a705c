"""Lists of many rows: the indexes that find a page, totals that are estimated, and walks from page to page."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import counting, pages, summary

RUNS = 20
RESULTS = """
    INSERT INTO runs (id, project_id, start_time, metadata)
    SELECT gen_random_uuid(), project, '2026-01-01'::timestamptz + n * interval '1 h', jsonb_build_object('build', n)
    FROM generate_series(1, :runs) AS n, unnest(CAST(:projects AS uuid[])) AS project;
    INSERT INTO results (id, run_id, project_id, test_id, result, start_time, env, metadata)
    SELECT gen_random_uuid(), runs.id, project_id, 'test_' || i, CASE WHEN i % 50 = 0 THEN 'failed' ELSE 'passed' END,
           start_time, 'env-' || i, jsonb_build_object('n', i, 'tags', jsonb_build_array(i))
    FROM runs, generate_series(1, 200) AS i;
    ANALYZE runs; ANALYZE results
"""


class Sent:
    """The statements on a table that an application sends."""

    def __init__(self, engine: sa.Engine) -> None:
        self.statements: list[str] = []
        sa.event.listen(engine, "after_cursor_execute", self._remember)

    def _remember(self, _connection: Any, cursor: Any, *_rest: Any) -> None:
        self.statements.append(cursor.query.decode())


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


WALKS = [
    ("result", ["project_id={project}"], "ix_results_project_id_start_time"),
    ("result", ["metadata.project=ann-project"], "ix_results_project_id_start_time"),
    ("result", ["project_id={project}", "test_id~7$"], "ix_results_project_id_start_time"),
    ("result", ["run_id={run}"], "ix_results_run_id_start_time"),
    ("result", ["run_id={run}", "result=failed"], "ix_results_run_id_result"),
    ("result", ["project_id={project}", "result=failed"], "ix_results_project_id_result"),
    ("result", [], "ix_results_start_time"),
    ("run", ["project_id={project}"], "ix_runs_project_id_start_time"),
    ("run", [], "ix_runs_start_time"),
]
"""Lists that are read in their order from an index, and no further than the page."""

FINDS = [
    ("result", ["project_id={project}", "env=env-7"], "ix_results_project_id_env"),
    ("result", ["project_id={project}", "test_id=test_7", "result=passed"], "ix_results_project_id_test_id"),
    ("result", ["test_id*test_7;test_8"], "ix_results_project_id_test_id"),
    ("result", ["metadata.n=7", "result=passed"], "ix_results_metadata"),
    ("result", ["data.n*7;8"], "ix_results_metadata"),
    ("result", ["metadata.tags=7"], "ix_results_metadata"),
    ("result", ["metadata.tags*7;8", "result=passed"], "ix_results_metadata"),
    ("run", ["metadata.build=7"], "ix_runs_metadata"),
]
"""Lists whose few rows an index finds, to be sorted then."""

READ_IN_ORDER = "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off"
FOUND_AND_SORTED = "SET enable_seqscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off"


def test_a_page_is_found_by_an_index(
    ann: Any, boss: Any, many: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "WORSE", math.inf)  # so that no page is found first that can be walked to
    sent = Sent(boss.client.application.extensions["ibutsu_engine"])
    cursor: Any = session.connection().connection.cursor()
    # What is quickest depends on the rows; so what would be another way is forbidden.
    for settings, cases in ((READ_IN_ORDER, WALKS), (FOUND_AND_SORTED, FINDS)):
        cursor.execute(f"RESET ALL; {settings}")
        for path, templates, index in cases:
            texts = [text.format(project=ann.project.id, run=many) for text in templates]
            sent.statements.clear()
            assert boss.get(f"/{path}", query_string={"filter": texts}).get_json()[f"{path}s"]
            (statement,) = (one for one in sent.statements if one.startswith("WITH page"))
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}")
            plan = cursor.fetchone()[0][0]["Plan"]
            # Below the limit the page's ids are looked for; above it are the rows with these ids.
            limit = [node for node in nodes(plan) if node["Node Type"] == "Limit"][-1]
            used = {node["Index Name"] for node in nodes(limit) if "Index Name" in node}
            found = (used, limit["Plans"][0]["Node Type"] == "Sort", "Seq Scan" in str(limit))
            assert found == ({index}, cases is FINDS, False), (texts, plan)


def test_a_page_is_the_same_whether_it_is_walked_to_or_found_first(
    ann: Any, many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(ann.client.application.extensions["ibutsu_engine"])
    query = {"filter": ["result=passed", "duration@n"], "pageSize": 30}
    walked: list[list[str]] = []
    for worse in (math.inf, 1e-9):
        monkeypatch.setattr(pages, "WORSE", worse)
        sent.statements.clear()
        answers = [ann.get("/result", query_string={**query, "page": page}).get_json() for page in (1, 2, 3)]
        walked.append([one["id"] for answer in answers for one in answer["results"]])
        found_first = ["MATERIALIZED" in one for one in sent.statements if one.startswith("WITH page")]
        assert found_first == [worse < 1] * len(answers)
    assert walked[0] == walked[1]
    assert len(set(walked[0])) == 90


@pytest.fixture
def many(ann: Any, boss: Any, session: Session) -> str:
    """Many results in two projects; the id of a run in that of Ann."""
    projects = [str(one.project.id) for one in (ann, boss)]
    session.execute(sa.text(RESULTS), {"projects": projects, "runs": RUNS})
    session.commit()
    query = "SELECT id FROM runs WHERE metadata @> '{\"build\": 7}' AND project_id = :project"
    return str(session.scalar(sa.text(query), {"project": ann.project.id}))


def test_an_estimate_is_exact_where_there_are_few_and_near_where_there_are_many(
    ann: Any, many: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def total(*texts: str, **options: Any) -> int:
        query = {"filter": texts, "estimate": "true", **options}
        found: int = ann.get("/result", query_string=query).get_json()["pagination"]["totalItems"]
        return found

    session.execute(sa.text("UPDATE results SET source = 'new'"))  # The planner does not know it yet.
    session.commit()
    assert total("source=new") == 200 * RUNS
    assert total("test_id~test_1") == 111 * RUNS
    assert total("source=none") == total("source=none", page=7) == 0
    monkeypatch.setattr(counting, "EXACT", 1000)
    assert 2000 < total() < 20_000
    assert total("test_id~test_1.?.?$") > 1000
    assert total("source=none") == 0
    # What the page shows is known better than what the planner believes.
    assert total(page=200 * RUNS // 30 + 1, pageSize=30) == 200 * RUNS
    assert total(page=2, pageSize=500) > 1000
    monkeypatch.setattr(counting, "CHEAP", 0)
    assert 2000 < total() < 20_000
    assert total("run_id=" + str(uuid.UUID(int=0))) == 0
    assert total("run_id=" + many, pageSize=500) == 200


def test_a_run_is_counted_from_its_own_results_and_its_earliest_is_the_first_of_an_index(
    many: str, session: Session
) -> None:
    explained = sa.text(f"EXPLAIN (FORMAT JSON) {summary.COUNT}")
    plan: dict[str, Any] = session.scalar(explained, {"run_id": many, "reported": None})[0]["Plan"]
    found = {(one["Index Name"], one["Index Cond"]) for one in nodes(plan) if "_results_" in one.get("Index Name", "")}
    assert found == {("ix_results_run_id_start_time", f"(run_id = '{many}'::uuid)")}, plan
    read_whole = {one["Relation Name"] for one in nodes(plan) if one["Node Type"] == "Seq Scan"}
    assert read_whole <= {"runs"}, plan
    assert not [one for one in nodes(plan) if "Sort" in one["Node Type"]], plan


@pytest.mark.parametrize("estimate", ["false", "true"])
def test_a_walk_meets_everything_once_though_all_began_at_one_time(
    ann: Any, session: Session, estimate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "EXACT", 10)
    rows = """
        INSERT INTO results (id, project_id, start_time)
        SELECT gen_random_uuid(), :project, CASE WHEN n > 5 THEN '2026-01-01'::timestamptz END
        FROM generate_series(1, 52) AS n; ANALYZE results
    """
    session.execute(sa.text(rows), {"project": ann.project.id})
    session.commit()
    walked: list[str] = []
    for number in range(1, 9):
        page = ann.get(f"/result?page={number}&pageSize=7&estimate={estimate}").get_json()
        walked += [one["id"] for one in page["results"]]
        assert page["pagination"]["totalItems"] >= len(walked)
    assert len(walked) == len(set(walked)) == 52
    whole = ann.get("/result?pageSize=500").get_json()
    assert [one["id"] for one in whole["results"]] == walked
    past = ann.get(f"/result?page=99&pageSize=7&estimate={estimate}").get_json()
    assert (past["results"], past["pagination"]["totalItems"]) == ([], 52)
