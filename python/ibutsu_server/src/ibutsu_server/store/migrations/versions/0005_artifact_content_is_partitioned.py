"""The content of artifacts is partitioned by the time of their ids, so that old content is dropped rather than deleted.

What is stored already becomes the oldest partition. Nothing is copied; PostgreSQL reads the table once, without the
content that lies beside it, and meanwhile nobody else reads or writes artifacts. The partitions of this month and the
next ones are made right after the migrations.
"""

from __future__ import annotations

import datetime as dt
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLE = """
    CREATE TABLE artifact_chunks (
        LIKE {source} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION,
        CONSTRAINT pk_artifact_chunks PRIMARY KEY (artifact_id, position),
        CONSTRAINT fk_artifact_chunks_artifact_id
            FOREIGN KEY (artifact_id) REFERENCES artifacts ON DELETE CASCADE DEFERRABLE
    ) {kind}
"""


def upgrade() -> None:
    month = (dt.datetime.now(dt.UTC).replace(day=1) + dt.timedelta(days=31)).replace(day=1)
    old = f"artifact_chunks_before_{month:%Y_%m}"
    _rename("artifact_chunks", old)
    op.execute(_TABLE.format(source=old, kind="PARTITION BY RANGE (artifact_id)"))
    op.execute("CREATE TABLE artifact_chunks_default PARTITION OF artifact_chunks DEFAULT")
    if op.get_bind().scalar(sa.text(f"SELECT EXISTS (SELECT FROM {old})")):  # noqa: S608
        midnight = month.replace(hour=0, minute=0, second=0, microsecond=0)
        bound = uuid.UUID(int=int(midnight.timestamp() * 1000) << 80)
        # An id of the future, by a wrong clock.
        op.execute(
            f"""
            WITH later AS (DELETE FROM {old} WHERE artifact_id >= '{bound}' RETURNING *)
            INSERT INTO artifact_chunks_default SELECT * FROM later
            """  # noqa: S608
        )
        # The check of its foreign key may have been deferred by the row that has just moved.
        op.execute("SET CONSTRAINTS ALL IMMEDIATE")
        op.execute(f"ALTER TABLE artifact_chunks ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{bound}')")
    else:
        op.execute(f"DROP TABLE {old}")


def downgrade() -> None:
    _rename("artifact_chunks", "artifact_chunks_partitioned")
    op.execute(_TABLE.format(source="artifact_chunks_partitioned", kind=""))
    op.execute("INSERT INTO artifact_chunks SELECT * FROM artifact_chunks_partitioned")
    op.execute("DROP TABLE artifact_chunks_partitioned")


def _rename(name: str, new: str) -> None:
    op.execute(f"ALTER TABLE {name} RENAME TO {new}")
    for kind in ("pk", "fk"):
        ending = "_artifact_id" if kind == "fk" else ""
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {kind}_{name}{ending} TO {kind}_{new}{ending}")
