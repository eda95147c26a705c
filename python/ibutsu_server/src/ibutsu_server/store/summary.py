"""A run's summary, computed from its stored results by one SQL statement."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

UPDATE = """
    WITH of_outcome AS (
        SELECT result, count(*) AS tests, sum(duration) AS duration
        FROM results WHERE run_id = :run_id GROUP BY result
    ), counted AS (
        SELECT coalesce(sum(tests), 0)::bigint AS tests,
               coalesce(sum(tests) FILTER (WHERE result = 'failed'), 0)::bigint AS failures,
               coalesce(sum(tests) FILTER (WHERE result = 'error'), 0)::bigint AS errors,
               coalesce(sum(tests) FILTER (WHERE result = 'skipped'), 0)::bigint AS skips,
               coalesce(sum(tests) FILTER (WHERE result = 'xfailed'), 0)::bigint AS xfailures,
               coalesce(sum(tests) FILTER (WHERE result = 'xpassed'), 0)::bigint AS xpasses,
               coalesce(sum(duration), 0) AS duration
        FROM of_outcome
    ), earliest AS (
        -- The expression keeps the planner from walking the index of all results' times for those of one run.
        SELECT start_time, env, component, project_id, source, metadata
        FROM results WHERE run_id = :run_id
        ORDER BY start_time AT TIME ZONE 'UTC' NULLS LAST, id LIMIT 1
    ), facts AS (
        SELECT counted.*,
               tests - failures - errors - skips - xfailures - xpasses AS passes,
               CASE WHEN jsonb_typeof(runs.summary -> 'collected') = 'number'
                    THEN greatest(0, least((runs.summary ->> 'collected')::numeric, 2000000000))::bigint
                    ELSE 0 END AS collected
        FROM counted, runs WHERE runs.id = :run_id
    )
    UPDATE runs SET
        summary = coalesce(CASE WHEN jsonb_typeof(runs.summary) = 'object' THEN runs.summary END, '{}'::jsonb)
            || jsonb_build_object(
                'tests', facts.tests, 'failures', facts.failures, 'errors', facts.errors, 'skips', facts.skips,
                'xfailures', facts.xfailures, 'xpasses', facts.xpasses, 'passes', facts.passes,
                'pass_percent', CASE WHEN facts.tests = 0 THEN 0 ELSE facts.passes * 100 / facts.tests END,
                'collected', facts.collected, 'not_run', greatest(facts.collected - facts.tests, 0)
            ),
        duration = coalesce(
            CAST(:reported AS double precision),
            CASE WHEN facts.tests = 0 THEN runs.duration ELSE facts.duration END
        ),
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
"""
"""Needs `reported`, the duration that the run's reporter gave, or null for the sum of its results'."""

_UPDATE_ALONE = sa.text(UPDATE)

_UNTRUE = sa.text(
    """
    SELECT runs.id FROM runs
    LEFT JOIN LATERAL (SELECT count(*) AS tests FROM results WHERE results.run_id = runs.id) AS counted ON true
    WHERE runs.created > now() - make_interval(hours => :hours)
      AND counted.tests <> coalesce(
          CASE WHEN jsonb_typeof(runs.summary -> 'tests') = 'number' THEN (runs.summary ->> 'tests')::numeric END, -1)
      AND (counted.tests > 0 OR runs.summary IS NULL)
    ORDER BY runs.created
    """
)


def lock_run(session: Session, run_id: uuid.UUID) -> None:
    """Wait for whoever else changes the run's results or summary, and keep them out until the transaction ends."""
    session.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 1))"), {"key": str(run_id)})


def update_run(session: Session, run_id: uuid.UUID) -> bool:
    """Make the run's summary and what it takes from its earliest result true; False where there is no such run.

    Does not commit.
    """
    lock_run(session, run_id)
    return bool(session.execute(_UPDATE_ALONE, {"run_id": run_id, "reported": None}).rowcount)  # type: ignore[attr-defined]


def untrue_runs(session: Session, *, hours: int) -> list[uuid.UUID]:
    """Return the runs of the last `hours` whose summary does not count the results that they have."""
    return list(session.scalars(_UNTRUE, {"hours": hours}))
