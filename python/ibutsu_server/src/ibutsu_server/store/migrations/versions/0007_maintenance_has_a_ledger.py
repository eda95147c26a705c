"""Maintenance has a ledger: each slot of a periodic task is one row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATUS = (
    "CASE WHEN started IS NULL THEN 'skipped' WHEN finished IS NOT NULL AND error IS NULL THEN 'done' "
    "WHEN finished IS NOT NULL THEN 'error' WHEN worker IS NULL THEN 'waiting' ELSE 'running' END"
)


def upgrade() -> None:
    op.create_table(
        "maintenance",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=True),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=True),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=True)
            for name in ("slot", "sent", "started", "finished")
        ),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("parts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("counts", JSONB(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), sa.Computed(STATUS, persisted=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_maintenance"),
        sa.UniqueConstraint("entry", "slot", name="uq_maintenance_entry_slot"),
    )
    op.create_index("ix_maintenance_finished", "maintenance", ["finished", "id"])
    op.create_index(
        "uq_maintenance_task_id", "maintenance", ["task_id"], unique=True, postgresql_where=sa.text("slot IS NULL")
    )


def downgrade() -> None:
    op.drop_table("maintenance")
