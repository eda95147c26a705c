"""What a true summary costs: a result more, a count of all, and the search for summaries that are not true.

    python benchmarks/run_summary.py [RESULTS] [RUNS] [RESULTS-OF-EACH]

One run has many results, as an import stores them. Each figure is the best of the rounds; what one result more costs is
also given for a run that has none, since it is not to depend on their number. The repair looks at many recent runs.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable

import common
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store import summary
from ibutsu_server.store.models import Result, Run

ROUNDS = 20


def best(function: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Milliseconds of the fastest call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def many_runs(session: Session, runs: int, results: int) -> None:
    """Store recent runs with true summaries; every hundredth is made untrue."""
    session.execute(
        sa.text("INSERT INTO runs (id, summary) SELECT gen_random_uuid(), '{}' FROM generate_series(1, :runs)"),
        {"runs": runs},
    )
    fill = """
        INSERT INTO results (id, run_id, result, duration, start_time, metadata)
        SELECT gen_random_uuid(), runs.id, CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'passed' END, 0.1, now(),
               jsonb_build_object('node_id', 'tests/test_cart.py::test_total[' || n || ']', 'text', repeat('x', 300))
        FROM runs, generate_series(1, :results) AS n
    """
    session.execute(sa.text(fill), {"results": results})
    session.commit()
    for run_id in session.scalars(sa.select(Run.id)).all():
        summary.update_run(session, run_id)
    session.execute(sa.text("UPDATE runs SET summary = summary || '{\"failures\": 0}' WHERE id::text LIKE '%00'"))
    session.commit()
    session.execute(sa.text("ANALYZE runs, results"))
    session.commit()


if __name__ == "__main__":
    results = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    of_each = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    with common.servers() as servers, common.session(servers) as session:
        with common.worker(servers):
            path = common.report(servers.directory / "report.xml", results)
            common.imported(common.sender(servers), [common.upload(session, path)])
        run_id = session.scalars(sa.select(Run.id)).one()
        empty_id = uuid.uuid4()
        session.add(Run(id=empty_id, summary={}))
        session.flush()
        summary.update_run(session, empty_id)
        session.commit()

        def count() -> None:
            summary.update_run(session, run_id)
            session.commit()

        def add(run_id: uuid.UUID) -> None:
            session.add(Result(run_id=run_id, result="passed", duration=1.0))
            session.flush()
            summary.follow(session, None, summary.Counted(run_id, "passed", 1.0))
            session.commit()

        bare = sa.text("SELECT result, count(*), sum(duration) FROM results WHERE run_id = :run_id GROUP BY result")
        counting, reading = best(count), best(lambda: session.execute(bare, {"run_id": run_id}).all())
        print(f"update_run of {results:,} results: {counting:.1f} ms, {counting / reading:.2f} times "
              f"a bare count by outcome", flush=True)  # fmt: skip
        many, none = best(lambda: add(run_id), 200), best(lambda: add(empty_id), 200)
        print(f"a result more: {many:.2f} ms beside {results:,}, {none:.2f} ms beside none; "
              f"{many / none:.2f} times, and {many / counting:.3f} of counting all", flush=True)  # fmt: skip
        common.empty(session)
        many_runs(session, runs, of_each)
        found: list[uuid.UUID] = []
        search = best(lambda: found.extend(summary.untrue_runs(session, hours=1)), 5)
        print(f"the untrue among {runs:,} recent runs with {runs * of_each:,} results, by one statement: "
              f"{len(found) // 5} in {search:.0f} ms", flush=True)  # fmt: skip
