"""The statements of the partitions of `artifact_chunks`. Names are from here or from PostgreSQL's catalog."""

from __future__ import annotations

import sqlalchemy as sa

from ibutsu_server.store.partition_bounds import Bounds

PARENT = "artifact_chunks"
DEFAULT = "artifact_chunks_default"

PATIENCE = sa.text("SELECT set_config('lock_timeout', :wait, true)")
LIMIT = sa.text("SELECT set_config('statement_timeout', :limit, true)")
ALONE = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
DISK = sa.text("SELECT pg_total_relation_size(CAST(:name AS regclass))")

EXISTS = sa.text("SELECT to_regclass(:name) IS NOT NULL")

PARTITIONS = sa.text(
    f"""
    SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class
    WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = '{PARENT}'::regclass)
    """  # noqa: S608
)

IN_DEFAULT = sa.text(
    f"SELECT sum(octet_length(data)) FROM {DEFAULT} WHERE artifact_id >= :lower AND artifact_id < :upper"  # noqa: S608
)


def create(name: str, unless: str = "") -> sa.TextClause:
    """Make a table that can become a partition; until it is one nobody knows of it."""
    return sa.text(f"CREATE TABLE {unless} {name} (LIKE {PARENT} INCLUDING ALL)")


def move(name: str) -> sa.TextClause:
    """Move to it what is of its range in the default partition."""
    return sa.text(
        f"""
        WITH moved AS (DELETE FROM {DEFAULT} WHERE artifact_id >= :lower AND artifact_id < :upper RETURNING *)
        INSERT INTO {name} SELECT * FROM moved
        """  # noqa: S608
    )


def attach(name: str, bounds: Bounds) -> sa.TextClause:
    """Make it a partition. Needs a moment in which nobody writes artifacts, for the foreign key."""
    values = f"FROM ('{bounds.lower}') TO ('{bounds.upper}')"
    return sa.text(f"ALTER TABLE {PARENT} ATTACH PARTITION {name} FOR VALUES {values}")


def staying(kept: str) -> sa.TextClause:
    """Tell how many artifacts of the range stay, their bytes, and the bytes of all.

    A join, since `IN` in this place would look through all that stay for each artifact, once they are too many to hash.
    """
    return sa.text(
        f"""
        SELECT count(*) FILTER (WHERE stays) AS number,
               coalesce(sum(size) FILTER (WHERE stays), 0)::bigint AS bytes, coalesce(sum(size), 0)::bigint AS all_bytes
        FROM (
            SELECT artifacts.size, staying.id IS NOT NULL AS stays
            FROM artifacts LEFT JOIN ({kept}) AS staying (id) ON staying.id = artifacts.id
            WHERE artifacts.id >= :lower AND artifacts.id < :upper
        ) AS found
        """  # noqa: S608
    )


def stays(kept: str, copy: str) -> sa.TextClause:
    """Give the ids and sizes of what stays, has content and is not in the copy."""
    return sa.text(
        f"""
        SELECT id, size FROM artifacts WHERE id >= :lower AND id < :upper AND size > 0 AND id IN ({kept})
        AND NOT EXISTS (SELECT FROM {copy} WHERE artifact_id = id) ORDER BY id
        """  # noqa: S608
    )


def forget(name: str) -> sa.TextClause:
    """Drop a copy that is no partition yet, which nobody else uses."""
    return sa.text(f"DROP TABLE IF EXISTS {name}")


def copy(name: str, to: str) -> sa.TextClause:
    """Copy the content of some artifacts."""
    return sa.text(f"INSERT INTO {to} SELECT * FROM {name} WHERE artifact_id = ANY(CAST(:ids AS uuid[]))")  # noqa: S608


def copy_rest(name: str, to: str, kept: str) -> sa.TextClause:
    """Copy the content of what stays and is not copied yet."""
    return sa.text(
        f"""
        INSERT INTO {to} SELECT * FROM {name} WHERE artifact_id IN (
            SELECT id FROM artifacts WHERE id >= :lower AND id < :upper AND id IN ({kept})
            AND NOT EXISTS (SELECT FROM {to} WHERE artifact_id = id)
        )
        """  # noqa: S608
    )


def without_artifacts(name: str) -> sa.TextClause:
    """Delete content whose artifact is gone."""
    return sa.text(f"DELETE FROM {name} WHERE NOT EXISTS (SELECT FROM artifacts WHERE id = artifact_id)")  # noqa: S608


def rename(name: str, new: str) -> sa.TextClause:
    """Give the table another name."""
    return sa.text(f"ALTER TABLE {name} RENAME TO {new}")


def hold(kept: str) -> sa.TextClause:
    """Take the ids of what stays, and keep others from deleting it meanwhile."""
    return sa.text(
        f"""
        CREATE TEMPORARY TABLE staying ON COMMIT DROP AS
        SELECT id FROM artifacts WHERE id >= :lower AND id < :upper AND id IN ({kept}) FOR KEY SHARE
        """  # noqa: S608
    )


INDEX_HELD = sa.text("CREATE INDEX ON staying (id)")
"""Without it, `has_others` looks through all that stays for each piece of content, where there are no others."""


def has_others(name: str) -> sa.TextClause:
    """Tell whether the partition has content of artifacts that do not stay."""
    return sa.text(
        f"SELECT EXISTS (SELECT FROM {name} WHERE NOT EXISTS (SELECT FROM staying WHERE id = artifact_id))"  # noqa: S608
    )


SET_ASIDE_TABLE = sa.text(f"CREATE TEMPORARY TABLE set_aside (LIKE {PARENT} INCLUDING STORAGE) ON COMMIT DROP")


def set_aside(name: str) -> sa.TextClause:
    """Copy the content of what stays."""
    return sa.text(f"INSERT INTO set_aside SELECT * FROM {name} WHERE artifact_id IN (SELECT id FROM staying)")  # noqa: S608


def truncate(name: str) -> sa.TextClause:
    """Remove the partition's content, and its files with the commit."""
    return sa.text(f"TRUNCATE {name}")


def put_back(name: str) -> sa.TextClause:
    """Write what was set aside."""
    return sa.text(f"INSERT INTO {name} SELECT * FROM set_aside")  # noqa: S608


def delete_rows(name: str, kept: str) -> sa.TextClause:
    """Delete a page of artifacts that have no content: of those of no size, which never had any, those that go."""
    return sa.text(
        f"""
        WITH page AS MATERIALIZED (
            SELECT id, size FROM artifacts WHERE id > :after AND id < :upper ORDER BY id LIMIT :size
        ),
        doomed AS MATERIALIZED (
            SELECT id FROM page
            WHERE NOT EXISTS (SELECT FROM {name} WHERE artifact_id = page.id)
              AND (size > 0 OR NOT EXISTS (SELECT FROM ({kept}) AS staying (id) WHERE staying.id = page.id))
        ),
        held AS MATERIALIZED (SELECT id FROM artifacts WHERE id IN (SELECT id FROM doomed) FOR UPDATE SKIP LOCKED),
        gone AS (DELETE FROM artifacts WHERE id IN (SELECT id FROM held) RETURNING size)
        SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*) FROM doomed) AS doomed,
               (SELECT count(*) FROM gone) AS gone, (SELECT coalesce(sum(size), 0)::bigint FROM gone) AS bytes
        """  # noqa: S608
    )


LOCK_PARENT = sa.text(f"LOCK TABLE ONLY {PARENT} IN ACCESS EXCLUSIVE MODE")


def has_any(name: str) -> sa.TextClause:
    """Tell whether the partition has content."""
    return sa.text(f"SELECT EXISTS (SELECT FROM {name})")  # noqa: S608


def drop(name: str) -> sa.TextClause:
    """Drop the partition. To detach it first would lock `artifacts` too, for the triggers of its foreign key."""
    return sa.text(f"DROP TABLE {name}")
