"""Runs' summaries: what is stored of a run's results, counted by outcome, true at every commit.

Whoever changes results changes the summary in the same transaction: an import counts them all, one result more or less
is added to what was counted before. Both are done under the run's summary lock, after the rows of the results were
written, and the lock goes with the transaction. So a count sees just those results whose change has been added
already; the others' change is added to it, once their transactions have the lock.

Locks are taken in one order, so that nobody waits in a circle: the import lock, rows of results, summary locks by
ascending run ids, rows of runs.
"""

from __future__ import annotations

import collections
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

COUNTED = {
    "failures": "failed",
    "errors": "error",
    "skips": "skipped",
    "xfailures": "xfailed",
    "xpasses": "xpassed",
}
"""The counts of a summary, beside that of all tests, and the outcomes that they count."""

COMPUTED = frozenset(("tests", *COUNTED, "passes", "pass_percent", "not_run"))
"""What nobody but this module says of a run."""

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(CAST(:run_id AS text), 1))"
"""Takes the run's summary lock until the transaction ends."""

IMPORT_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(CAST(:run_id AS text), 3))"
"""Takes the lock of those that write many of the run's results, which they hold long, until the transaction ends."""

_STORED = f"""
    stored AS (
        SELECT stored.* FROM runs, jsonb_to_record(
            CASE WHEN jsonb_typeof(runs.summary) = 'object' THEN runs.summary ELSE '{{}}'::jsonb END
        ) AS stored(tests bigint, {", ".join(f"{name} bigint" for name in COUNTED)})
        WHERE runs.id = :run_id
    )
"""  # noqa: S608 - names from this module

_FACTS = f"""
    facts AS (
        SELECT counted.*, counted.tests - {" - ".join(f"counted.{name}" for name in COUNTED)} AS passes,
               CASE WHEN jsonb_typeof(runs.summary -> 'collected') = 'number'
                    THEN greatest(0, least((runs.summary ->> 'collected')::numeric, 2000000000))::bigint
                    ELSE 0 END AS collected
        FROM counted, runs WHERE runs.id = :run_id
    )
"""  # noqa: S608 - names from this module

_SUMMARY = f"""
    coalesce(CASE WHEN jsonb_typeof(runs.summary) = 'object' THEN runs.summary END, '{{}}'::jsonb)
    || jsonb_build_object(
        'tests', facts.tests, {", ".join(f"'{name}', facts.{name}" for name in COUNTED)}, 'passes', facts.passes,
        'pass_percent', CASE WHEN facts.tests = 0 THEN 0 ELSE facts.passes * 100 / facts.tests END,
        'collected', facts.collected, 'not_run', greatest(facts.collected - facts.tests, 0)
    )
"""

_OF_OUTCOME = ", ".join(
    f"coalesce(sum(tests) FILTER (WHERE result = '{outcome}'), 0)::bigint AS {name}"
    for name, outcome in COUNTED.items()
)

# A run whose results were all pruned keeps what they were: it is kept longer than they are for that.
COUNT = f"""
    WITH of_outcome AS (
        SELECT result, count(*) AS tests, sum(duration) AS duration
        FROM results WHERE run_id = :run_id GROUP BY result
    ), {_STORED}, counted AS (
        SELECT sum(tests)::bigint AS tests, {_OF_OUTCOME}, coalesce(sum(duration), 0) AS duration
        FROM of_outcome HAVING count(*) > 0
        UNION ALL
        SELECT coalesce(tests, 0), {", ".join(f"coalesce({name}, 0)" for name in COUNTED)}, NULL
        FROM stored WHERE NOT EXISTS (SELECT FROM of_outcome)
    ), earliest AS (
        SELECT start_time, env, component, project_id, source, metadata
        FROM results WHERE run_id = :run_id
        ORDER BY start_time, id LIMIT 1
    ), {_FACTS}
    UPDATE runs SET
        summary = {_SUMMARY},
        duration = coalesce(CAST(:reported AS double precision), facts.duration, runs.duration),
        start_time = coalesce(runs.start_time, earliest.start_time),
        env = coalesce(runs.env, earliest.env),
        component = coalesce(runs.component, earliest.component),
        project_id = coalesce(runs.project_id, earliest.project_id),
        source = coalesce(runs.source, earliest.source),
        metadata = jsonb_strip_nulls(jsonb_build_object(
            'jenkins', earliest.metadata -> 'jenkins', 'tags', earliest.metadata -> 'tags'
        )) || runs.metadata
    FROM facts LEFT JOIN earliest ON true
    WHERE runs.id = :run_id
"""  # noqa: S608 - names from this module
"""Counts all results of the run. Needs the summary lock, taken by a statement before, and `reported`: the duration that
the run's reporter gave, or null for the sum of its results'."""

_COUNT = sa.text(f"{LOCK}; {COUNT}")

_ADD = sa.text(
    f"""
    {LOCK};
    WITH {_STORED}, counted AS (
        SELECT tests + :tests AS tests, {", ".join(f"{name} + :{name} AS {name}" for name in COUNTED)} FROM stored
    ), {_FACTS}
    UPDATE runs SET
        summary = {_SUMMARY},
        duration = CASE WHEN facts.tests = :tests THEN 0 ELSE coalesce(runs.duration, 0) END + :duration
    FROM facts WHERE runs.id = :run_id AND facts.passes IS NOT NULL
    """  # noqa: S608 - names from this module
)

_UNTRUE = sa.text(
    f"""
    WITH recent AS MATERIALIZED (
        SELECT id, created, summary FROM runs WHERE created > now() - make_interval(hours => :hours)
    ), counted AS (
        SELECT run_id, jsonb_build_object(
            'tests', count(*),
            {", ".join(f"'{name}', count(*) FILTER (WHERE result = '{outcome}')" for name, outcome in COUNTED.items())}
        ) AS summary
        FROM results WHERE run_id IN (SELECT id FROM recent) GROUP BY run_id
    )
    SELECT recent.id FROM recent LEFT JOIN counted ON counted.run_id = recent.id
    WHERE NOT coalesce(recent.summary @> counted.summary, recent.summary ? 'tests', false)
    ORDER BY recent.created
    """  # noqa: S608 - names from this module
)


class Counted(NamedTuple):
    """What a result counts for: its run, its outcome, and its duration in seconds."""

    run_id: uuid.UUID | None
    outcome: str | None
    duration: float | None


def lock_run(session: Session, run_id: uuid.UUID) -> None:
    """Wait for whoever else changes the run or its summary, and keep them out until the transaction ends."""
    session.execute(sa.text(LOCK), {"run_id": run_id})


def lock_imports(session: Session, run_id: uuid.UUID) -> None:
    """Wait for an import into the run, and keep others out until the transaction ends."""
    session.execute(sa.text(IMPORT_LOCK), {"run_id": run_id})


def claims(said: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the summary that a reporter says, with the counts of the stored one: they are not for him to say."""
    known = {name: value for name, value in (stored or {}).items() if name in COMPUTED}
    return {name: value for name, value in said.items() if name not in COMPUTED} | known


def update_run(session: Session, run_id: uuid.UUID) -> bool:
    """Count the run's results anew, and give the run what it lacks and its earliest result has.

    False where there is no such run. Does not commit.
    """
    return bool(session.execute(_COUNT, {"run_id": run_id, "reported": None}).rowcount)  # type: ignore[attr-defined]


def follow(session: Session, before: Counted | None, after: Counted | None) -> None:
    """Let summaries follow the change of one result that was just written: two runs' where it went to another.

    The cost does not depend on the number of results. Does not commit.
    """
    if before == after:
        return
    changes: dict[uuid.UUID, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    durations: dict[uuid.UUID, float] = collections.defaultdict(float)
    for counted, sign in ((before, -1), (after, 1)):
        if counted is not None and counted.run_id is not None:
            changes[counted.run_id]["tests"] += sign
            changes[counted.run_id][counted.outcome or ""] += sign
            durations[counted.run_id] += sign * (counted.duration or 0)
    for run_id in sorted(changes):
        change = changes[run_id]
        parameters = {name: change[outcome] for name, outcome in COUNTED.items()}
        parameters |= {"run_id": run_id, "tests": change["tests"], "duration": durations[run_id]}  # type: ignore[dict-item]
        if not session.execute(_ADD, parameters).rowcount:  # type: ignore[attr-defined]
            # The run has never been counted.
            update_run(session, run_id)


def untrue_runs(session: Session, *, hours: int) -> list[uuid.UUID]:
    """Return the runs of the last `hours` whose summary does not count the results that they have."""
    return list(session.scalars(_UNTRUE, {"hours": hours}))
