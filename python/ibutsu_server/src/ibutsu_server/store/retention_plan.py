"""What pruning would delete, counted without deleting it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa

from ibutsu_core.retention import Kind
from ibutsu_server.store.policies import Policies
from ibutsu_server.store.pruned import Pruned, Tally

_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)

_PLAN = sa.text(
    """
    WITH own AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:projects AS uuid[]), CAST(:own_artifacts AS timestamptz[]),
                             CAST(:own_results AS timestamptz[]), CAST(:own_runs AS timestamptz[]))
               AS own (project_id, artifacts, results, runs)
    ),
    old_runs AS MATERIALIZED (
        SELECT runs.id, coalesce(start_time, created) AS age FROM runs LEFT JOIN own USING (project_id)
        WHERE NOT pinned AND coalesce(start_time, created) < coalesce(own.runs, :runs)
    ),
    old_results AS MATERIALIZED (
        SELECT results.id, coalesce(results.start_time, results.created) AS age FROM results
        LEFT JOIN own ON own.project_id = results.project_id
        LEFT JOIN runs ON runs.id = results.run_id
        LEFT JOIN old_runs ON old_runs.id = results.run_id
        WHERE runs.pinned IS NOT TRUE AND (
            old_runs.id IS NOT NULL
            OR coalesce(results.start_time, results.created) < coalesce(own.results, :results))
    ),
    old_artifacts AS MATERIALIZED (
        SELECT artifacts.size, artifacts.upload_date AS age FROM artifacts
        LEFT JOIN results ON results.id = artifacts.result_id
        LEFT JOIN runs ON runs.id = coalesce(artifacts.run_id, results.run_id)
        LEFT JOIN own ON own.project_id =
            CASE WHEN artifacts.run_id IS NULL THEN results.project_id ELSE runs.project_id END
        LEFT JOIN old_results ON old_results.id = artifacts.result_id
        LEFT JOIN old_runs ON old_runs.id = artifacts.run_id
        WHERE runs.pinned IS NOT TRUE AND (
            old_results.id IS NOT NULL OR old_runs.id IS NOT NULL
            OR artifacts.upload_date < coalesce(own.artifacts, :artifacts))
    ),
    old_uploads AS MATERIALIZED (
        SELECT imports.id, size, coalesce(finished, created) AS age FROM imports LEFT JOIN own USING (project_id)
        WHERE status = 'error' AND coalesce(finished, created) < coalesce(own.artifacts, :artifacts)
          AND EXISTS (SELECT FROM upload_chunks WHERE upload_chunks.import_id = imports.id)
    ),
    old_imports AS MATERIALIZED (
        SELECT coalesce(finished, created) AS age FROM imports LEFT JOIN own USING (project_id)
        WHERE status IN ('done', 'error') AND coalesce(finished, created) < coalesce(own.runs, :runs)
          AND NOT EXISTS (SELECT FROM runs WHERE id = run_id AND id NOT IN (SELECT id FROM old_runs))
          AND NOT EXISTS (SELECT FROM upload_chunks
                          WHERE import_id = imports.id AND import_id NOT IN (SELECT id FROM old_uploads))
    )
    SELECT 'runs', count(*), 0, min(age), max(age) FROM old_runs
    UNION ALL SELECT 'results', count(*), 0, min(age), max(age) FROM old_results
    UNION ALL SELECT 'artifacts', count(*), coalesce(sum(size), 0)::bigint, min(age), max(age) FROM old_artifacts
    UNION ALL SELECT 'uploads', count(*), coalesce(sum(size), 0)::bigint, min(age), max(age) FROM old_uploads
    UNION ALL SELECT 'imports', count(*), 0, min(age), max(age) FROM old_imports
    """
)


def plan(connection: sa.Connection, policies: Policies, kinds: Iterable[Kind], now: dt.datetime) -> Pruned:
    """Count what `retention.prune` would delete of these kinds, by one statement.

    The connection is in no transaction.
    """
    wanted = set(kinds)
    parameters: dict[str, object] = {"projects": list(policies.projects)}
    for kind in Kind:
        cutoffs = dict(policies.each(kind, now)) if kind in wanted else {}
        parameters[kind.value] = cutoffs.get(None, _NEVER)
        parameters[f"own_{kind}"] = [cutoffs.get(project, _NEVER) for project in policies.projects]
    planned = Pruned()
    with connection.begin():
        for name, *told in connection.execute(_PLAN, parameters):
            setattr(planned, name, Tally(*told))
    return planned
