"""The statements of an import beside its COPYs. Those that belong together go to the server in one round trip."""

from __future__ import annotations

import functools

import sqlalchemy as sa

from ibutsu_server.store import summary
from ibutsu_server.store.copy_rows import RESULT_COLUMNS

BEGIN = sa.text(
    f"""
    {summary.IMPORT_LOCK};
    SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO runs (id, project_id) VALUES (:run_id, :project_id) ON CONFLICT (id) DO NOTHING RETURNING id
    """  # noqa: S608 - of this package
)
"""Gives the run's id when it is new, and nothing when it exists."""

STORED_PROJECT = sa.text("SELECT project_id FROM runs WHERE id = :run_id FOR KEY SHARE")
"""Gives the project of a run that exists, and keeps the run from being deleted."""

INCOMING = sa.text("CREATE TEMPORARY TABLE incoming_results (LIKE results INCLUDING DEFAULTS) ON COMMIT DROP")

_REPLACED = ", ".join(
    f"{name} = excluded.{name}" for name in RESULT_COLUMNS.split(", ") if name not in {"id", "run_id"}
)

UPSERT = f"""
    WITH stored AS (
        INSERT INTO results ({RESULT_COLUMNS}) SELECT {RESULT_COLUMNS} FROM incoming_results
        ON CONFLICT (id) DO UPDATE SET {_REPLACED} WHERE results.run_id = excluded.run_id RETURNING id
    ) SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM incoming_results)
"""  # noqa: S608 - names from this package
"""Gives how many results were stored, and how many there were to store."""

FORGET_INCOMING = "TRUNCATE incoming_results"

_DROP_REPLACED_ARTIFACTS = "; ".join(
    f"""
    DELETE FROM artifacts AS old USING artifacts AS new
    WHERE {where} AND new.upload_date = :now
      AND old.{owner} = new.{owner} AND old.filename = new.filename AND old.upload_date <> :now
    """  # noqa: S608 - names from this module
    for owner, where in (
        ("result_id", "new.result_id IN (SELECT id FROM results WHERE run_id = :run_id)"),
        ("run_id", "new.run_id = :run_id"),
    )
)

_GIVE_PROJECT = "UPDATE results SET project_id = :project_id WHERE run_id = :run_id AND project_id IS NULL"

_COMPLETE_RUN = """
    UPDATE runs SET
        start_time = coalesce(:start_time, start_time, :now),
        source = coalesce(:source, source),
        component = coalesce(:component, component),
        env = coalesce(:env, env),
        project_id = :project_id,
        summary = coalesce(summary, '{}'::jsonb) || CAST(:claimed AS jsonb),
        metadata = CAST(:metadata AS jsonb)
    WHERE id = :run_id
"""

_CHECK = "SET CONSTRAINTS ALL IMMEDIATE"

_DELETE_UPLOAD = "DELETE FROM upload_chunks WHERE import_id = :import_id"

_MARK_DONE = """
    UPDATE imports SET status = 'done', finished = clock_timestamp(), run_id = :run_id, project_id = :project_id,
        format = :format, error = NULL, metadata = CAST(:data AS jsonb)
    WHERE id = :import_id AND status IN ('pending', 'running') RETURNING id
"""


@functools.cache
def settle(*, existed: bool, without_project: bool) -> str:
    """Return what is done before the run is locked for its summary: all that may take long.

    `existed` says that the run was there before the import, `without_project` that results were stored before their
    project was known.
    """
    statements = [
        *([_DROP_REPLACED_ARTIFACTS] if existed else []),
        *([_GIVE_PROJECT] if without_project else []),
        _CHECK,
        _DELETE_UPLOAD,
    ]
    return ";".join(statements)


STORED_METADATA = f"{summary.LOCK}; SELECT metadata FROM runs WHERE id = :run_id"  # noqa: S608 - of this package
"""Locks a run that others know, and gives what they have made of its metadata until now."""

COMPLETE = f"{_COMPLETE_RUN}; {summary.COUNT}; {_MARK_DONE}"
"""Completes the run and marks its import done; gives the import's id, or nothing."""
