"""The statements of retention, each of a bounded number of rows.

One that walks an index takes the rows after the last key that was seen, whether they go or stay, so that no row is
looked at twice, dead or alive. What others have locked is left in the end: it is old next time too.
"""

from __future__ import annotations

import functools

import sqlalchemy as sa

_AGE = "coalesce({table}.start_time, {table}.created)"
_OF_PINNED = """
    (run_id IN (SELECT id FROM runs WHERE pinned AND id = ANY(ARRAY(SELECT DISTINCT run_id FROM source)))) IS TRUE
"""
_OLD = _AGE + " < :cutoff"
_OF_OLD_RUNS = "{table}.run_id = ANY(:runs)"


def _walk(table: str, columns: str, *, project: bool, dated: bool) -> str:
    """Return the query of a page of one project's rows: of those with a start time, or of those without one.

    Rows of one run may all have one time, so the key has the id too. The conditions are of whole keys, which begin with
    the project: else PostgreSQL begins with the project's first entry, dead or alive, each time, or takes the index of
    times alone and sorts.
    """
    if not dated:
        whose = "project_id = :project" if project else "project_id IS NULL"
        within = f"{whose} AND start_time IS NULL AND id > CAST(:after_id AS uuid)"
    elif project:
        within = """(project_id, start_time, id) > (:project, :after, CAST(:after_id AS uuid))
                    AND (project_id, start_time) < (:project, :cutoff)"""
    else:
        within = "project_id IS NULL AND (start_time, id) > (:after, CAST(:after_id AS uuid)) AND start_time < :cutoff"
    return f"SELECT {columns} FROM {table} WHERE {within} ORDER BY project_id, start_time, id LIMIT :size"  # noqa: S608


_COLUMNS = "ctid AS place, id, run_id, start_time, created"
_THESE = f"SELECT {_COLUMNS} FROM results WHERE id = ANY(:ids)"  # noqa: S608


def _results(source: str, goes: str, *, locked: bool) -> sa.TextClause:
    """Return the deletion of a page of results; those with artifacts are only told of.

    It waits for rows that others have locked, and is given up after a while, or leaves them where `locked` says so,
    which takes twice as long. A row that was changed since it was read must still meet `goes`.
    """
    held = "SELECT * FROM page WHERE goes"
    if locked:
        held = """SELECT page.* FROM page JOIN results ON results.ctid = page.place WHERE page.goes
                  FOR UPDATE OF results SKIP LOCKED"""
    return sa.text(f"""
        WITH source AS MATERIALIZED ({source}),
        page AS MATERIALIZED (
            SELECT place, id, start_time, {goes.format(table="source")} AND NOT {_OF_PINNED} AS goes,
                   id IN (SELECT result_id FROM artifacts WHERE result_id = ANY(ARRAY(SELECT id FROM source))) AS laden
            FROM source
        ),
        held AS MATERIALIZED ({held}),
        gone AS (
            DELETE FROM results WHERE ctid = ANY(ARRAY(SELECT place FROM held WHERE NOT laden))
            AND {goes.format(table="results")} RETURNING {_AGE.format(table="results")} AS age
        )
        SELECT (SELECT count(*) FROM page) AS seen,
               (SELECT start_time FROM page ORDER BY start_time DESC, id DESC LIMIT 1) AS last,
               (SELECT id FROM page ORDER BY start_time DESC, id DESC LIMIT 1) AS last_id,
               (SELECT count(*) FROM page WHERE goes) - (SELECT count(*) FROM held WHERE laden) - count(*) AS in_use,
               (SELECT array_agg(id) FROM held WHERE laden) AS laden,
               count(*) AS gone, 0 AS bytes, NULL AS large, min(age) AS oldest, max(age) AS newest
        FROM gone
    """)  # noqa: S608 - names from this module


@functools.cache
def results(*, project: bool, dated: bool, locked: bool) -> sa.TextClause:
    """Delete a page of old results that have no artifacts, and tell of those that have some."""
    return _results(_walk("results", _COLUMNS, project=project, dated=dated), _OLD, locked=locked)


@functools.cache
def old_results(*, locked: bool) -> sa.TextClause:
    """Delete results that were found to be old, now that their artifacts are gone."""
    return _results(_THESE, _OLD, locked=locked)


@functools.cache
def owned_results(*, locked: bool) -> sa.TextClause:
    """Delete results of runs that go."""
    return _results(_THESE, _OF_OLD_RUNS, locked=locked)


RESULTS_OF = sa.text(
    "DECLARE results_of_runs NO SCROLL CURSOR WITH HOLD FOR SELECT id FROM results WHERE run_id = ANY(:runs)"
)
FETCH = sa.text("FETCH :count FROM results_of_runs")
CLOSE = sa.text("CLOSE results_of_runs")


@functools.cache
def runs_page(*, project: bool, dated: bool) -> sa.TextClause:
    """Read a page of runs, and which of them go."""
    goes = f"({_AGE.format(table='page')} < :cutoff AND NOT page.pinned)"
    return sa.text(f"""
        WITH page AS MATERIALIZED ({_walk("runs", "id, start_time, created, pinned", project=project, dated=dated)})
        SELECT id, start_time AS last, {goes} AS goes FROM page ORDER BY start_time, id
    """)  # noqa: S608


# The lock of a run keeps imports and summaries from it. It is tried after all else was checked, and a statement of its
# own takes both locks, so that the next one sees what was stored before.
HOLD_RUNS = sa.text(f"""
    WITH old AS MATERIALIZED (
        SELECT id FROM runs WHERE id = ANY(:ids) AND {_AGE.format(table="runs")} < :cutoff AND NOT pinned
    ),
    free AS MATERIALIZED (SELECT id FROM old WHERE pg_try_advisory_xact_lock(hashtextextended(id::text, 1)))
    SELECT runs.id FROM runs JOIN free ON free.id = runs.id
    WHERE {_AGE.format(table="runs")} < :cutoff AND NOT pinned FOR UPDATE OF runs SKIP LOCKED
""")  # noqa: S608

RUNS = sa.text(f"""
    WITH held AS MATERIALIZED (
        SELECT id, {_AGE.format(table="runs")} AS age,
               EXISTS (SELECT FROM results WHERE results.run_id = runs.id)
               OR EXISTS (SELECT FROM artifacts WHERE artifacts.run_id = runs.id) AS laden
        FROM runs WHERE id = ANY(:ids)
    ),
    gone AS (DELETE FROM runs USING held WHERE runs.id = held.id AND NOT held.laden RETURNING held.age)
    SELECT (SELECT array_agg(id) FROM held WHERE laden) AS laden, :asked - (SELECT count(*) FROM held) AS in_use,
           count(*) AS gone, 0 AS bytes, NULL AS large, min(age) AS oldest, max(age) AS newest FROM gone
""")  # noqa: S608


# The project of an artifact is that of its result, or else of its run.
_OWNERS = """
    LEFT JOIN results ON results.id = {table}.result_id
    LEFT JOIN runs ON runs.id = coalesce({table}.run_id, results.run_id)
    LEFT JOIN unnest(CAST(:projects AS uuid[]), CAST(:cutoffs AS timestamptz[])) AS own (project_id, cutoff)
        ON own.project_id = CASE WHEN {table}.run_id IS NULL THEN results.project_id ELSE runs.project_id END
"""
_OLD_ARTIFACT = """
    ({table}.upload_date < coalesce(own.cutoff, CAST(:cutoff AS timestamptz)) AND runs.pinned IS NOT TRUE)
"""


def _artifacts(source: str, goes: str) -> sa.TextClause:
    """Return the deletion of a page of artifacts, cut where it has `:bytes`; of a larger one only the id is told."""
    return sa.text(f"""
        WITH source AS MATERIALIZED ({source}),
        page AS MATERIALIZED (
            SELECT * FROM (
                SELECT source.*, sum(size) OVER (ORDER BY upload_date, id) AS upto FROM source
            ) AS summed WHERE upto - size < :bytes
        ),
        owned AS MATERIALIZED (
            SELECT page.id, page.upload_date, page.size, {goes} AS goes FROM page {_OWNERS.format(table="page")}
        ),
        held AS MATERIALIZED (
            SELECT artifacts.id, artifacts.upload_date AS age, artifacts.size FROM artifacts
            JOIN owned ON owned.id = artifacts.id AND owned.goes AND owned.size <= :bytes
            FOR UPDATE OF artifacts SKIP LOCKED
        ),
        gone AS (DELETE FROM artifacts USING held WHERE artifacts.id = held.id RETURNING held.age, held.size)
        SELECT (SELECT count(*) FROM page) AS seen,
               (SELECT upload_date FROM page ORDER BY upload_date DESC, id DESC LIMIT 1) AS last,
               (SELECT id FROM page ORDER BY upload_date DESC, id DESC LIMIT 1) AS last_id,
               (SELECT count(*) FROM owned WHERE goes AND size <= :bytes) - count(*) AS in_use,
               (SELECT jsonb_agg(jsonb_build_object('id', id, 'size', size)) FROM owned
                WHERE goes AND size > :bytes) AS large,
               count(*) AS gone, coalesce(sum(size), 0)::bigint AS bytes, min(age) AS oldest, max(age) AS newest
        FROM gone
    """)  # noqa: S608 - names from this module


ARTIFACTS = _artifacts(
    """SELECT id, upload_date, size, result_id, run_id FROM artifacts
       WHERE upload_date < :latest AND (upload_date, id) > (:after, CAST(:after_id AS uuid))
       ORDER BY upload_date, id LIMIT :size""",
    _OLD_ARTIFACT.format(table="page"),
)
"""Delete a page of old artifacts, whosever they are."""


def artifacts_of(owner: str) -> sa.TextClause:
    """Delete artifacts of runs or results that go; `owner` is the column that names these."""
    return _artifacts(
        f"SELECT id, upload_date, size, result_id, run_id FROM artifacts WHERE {owner} = ANY(:owners) LIMIT :size",  # noqa: S608
        "runs.pinned IS NOT TRUE",
    )


ARTIFACTS_OF_RUNS = artifacts_of("run_id")
ARTIFACTS_OF_RESULTS = artifacts_of("result_id")

IMPORTS = sa.text(
    """
    WITH page AS MATERIALIZED (
        SELECT id, created FROM imports
        WHERE created < :latest AND (created, id) > (:after, CAST(:after_id AS uuid))
        ORDER BY created, id LIMIT :size
    ),
    held AS MATERIALIZED (
        SELECT imports.id, coalesce(finished, imports.created) AS age FROM imports JOIN page ON page.id = imports.id
        LEFT JOIN unnest(CAST(:projects AS uuid[]), CAST(:cutoffs AS timestamptz[])) AS own (project_id, cutoff)
            ON own.project_id = imports.project_id
        WHERE status IN ('done', 'error')
          AND coalesce(finished, imports.created) < coalesce(own.cutoff, CAST(:cutoff AS timestamptz))
          AND NOT EXISTS (SELECT FROM runs WHERE runs.id = imports.run_id)
          AND NOT EXISTS (SELECT FROM upload_chunks WHERE upload_chunks.import_id = imports.id)
        FOR UPDATE OF imports SKIP LOCKED
    ),
    gone AS (DELETE FROM imports USING held WHERE imports.id = held.id RETURNING held.age)
    SELECT (SELECT count(*) FROM page) AS seen,
           (SELECT created FROM page ORDER BY created DESC, id DESC LIMIT 1) AS last,
           (SELECT id FROM page ORDER BY created DESC, id DESC LIMIT 1) AS last_id,
           count(*) AS gone, 0 AS bytes, NULL AS large, min(age) AS oldest, max(age) AS newest FROM gone
    """
)
"""Delete a page of imports that ended long ago, whose run and upload are gone."""

KEPT_ARTIFACTS = f"""
    SELECT artifacts.id FROM artifacts {_OWNERS.format(table="artifacts")}
    WHERE artifacts.id >= :lower AND artifacts.id < :upper AND {_OLD_ARTIFACT.format(table="artifacts")} IS NOT TRUE
"""  # noqa: S608
"""The ids of a range that do not go, though their partition may."""

AGES = sa.text(f"""
    SELECT min(upload_date) AS oldest, max(upload_date) AS newest FROM artifacts
    WHERE id >= :lower AND id < :upper
      AND NOT EXISTS (SELECT FROM ({KEPT_ARTIFACTS}) AS staying WHERE staying.id = artifacts.id)
""")  # noqa: S608
"""Tell the ages of those that go."""

CUT_ARTIFACT = sa.text(
    """
    WITH large AS MATERIALIZED (
        SELECT id, size, upload_date AS age FROM artifacts WHERE id = :id FOR UPDATE SKIP LOCKED
    ),
    cut AS (DELETE FROM artifact_chunks USING large WHERE artifact_id = large.id AND position >= :position),
    gone AS (DELETE FROM artifacts USING large WHERE artifacts.id = large.id AND :position = 0)
    SELECT age AS oldest, age AS newest, size AS bytes, 1 AS gone FROM large
    """
)
"""Delete the end of an artifact that is too large to go at once, or with position 0 all that is left of it."""

FAILED_UPLOADS = sa.text(
    """
    SELECT imports.id, imports.size FROM imports
    LEFT JOIN unnest(CAST(:projects AS uuid[]), CAST(:cutoffs AS timestamptz[])) AS own (project_id, cutoff)
        ON own.project_id = imports.project_id
    WHERE status = 'error' AND coalesce(finished, created) < coalesce(own.cutoff, CAST(:cutoff AS timestamptz))
      AND EXISTS (SELECT FROM upload_chunks WHERE upload_chunks.import_id = imports.id)
    ORDER BY coalesce(finished, created), imports.id
    """
)
"""The uploads of imports that failed long ago and still have their bytes."""

CUT_UPLOAD = sa.text(
    """
    WITH failed AS MATERIALIZED (
        SELECT id, size, coalesce(finished, created) AS age FROM imports
        WHERE id = :id AND status = 'error' FOR UPDATE SKIP LOCKED
    ),
    cut AS (
        DELETE FROM upload_chunks USING failed WHERE import_id = failed.id AND position >= :position RETURNING 1
    )
    SELECT age AS oldest, age AS newest, size AS bytes, 1 AS gone FROM failed
    """
)
"""Delete the end of a failed import's upload; nothing where it is tried again, or in use."""
