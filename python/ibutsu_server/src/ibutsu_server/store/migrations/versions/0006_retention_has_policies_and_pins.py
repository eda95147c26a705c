"""Projects have retention policies of their own, runs can be pinned, and what is deleted is soon used again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# By default a fifth of a table is dead before its space is used again: of a hundred million results, twenty million.
# The planner's figures and the visibility map are kept up as closely. Uploads are gone as soon as they are imported.
_BIG = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_analyze_threshold": "5000",
}
_SHORT_LIVED = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "200",
    "toast.autovacuum_vacuum_scale_factor": "0.02",
    "toast.autovacuum_vacuum_threshold": "20000",
}
_AUTOVACUUM = {"runs": _BIG, "results": _BIG, "artifacts": _BIG, "upload_chunks": _SHORT_LIVED}


def upgrade() -> None:
    op.add_column("projects", sa.Column("retention", JSONB(none_as_null=True), nullable=True))
    op.add_column("runs", sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("ix_runs_pinned", "runs", ["id"], postgresql_where=sa.text("pinned"))
    op.create_index("ix_artifacts_upload_date_id", "artifacts", ["upload_date", "id"])
    op.drop_index("ix_artifacts_upload_date", table_name="artifacts")
    for table, options in _AUTOVACUUM.items():
        values = ", ".join(f"{name} = {value}" for name, value in options.items())
        op.execute(f"ALTER TABLE {table} SET ({values})")


def downgrade() -> None:
    for table, options in _AUTOVACUUM.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(options)})")
    op.create_index("ix_artifacts_upload_date", "artifacts", ["upload_date"])
    op.drop_index("ix_artifacts_upload_date_id", table_name="artifacts")
    op.drop_index("ix_runs_pinned", table_name="runs")
    op.drop_column("runs", "pinned")
    op.drop_column("projects", "retention")
