"""Imports know how many workers were lost over them, and which upload says the same as another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("imports", sa.Column("lost", sa.Integer(), server_default="0", nullable=False))
    op.add_column("imports", sa.Column("retries", sa.Integer(), server_default="0", nullable=False))
    op.add_column("imports", sa.Column("fingerprint", sa.Text(), nullable=True))
    op.create_index("ix_imports_fingerprint", "imports", ["fingerprint"], postgresql_where=sa.text("status <> 'error'"))


def downgrade() -> None:
    op.drop_index("ix_imports_fingerprint", table_name="imports")
    for name in ("fingerprint", "retries", "lost"):
        op.drop_column("imports", name)
