"""Groups have owners, projects invite people who have no account yet, and dashboards and widgets are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("groups", sa.Column("owner_id", sa.Uuid(), nullable=True))
    op.create_foreign_key("fk_groups_owner_id", "groups", "users", ["owner_id"], ["id"], ondelete="SET NULL")
    op.create_table(
        "invitations",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_invitations_project_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "email", name="pk_invitations"),
    )
    op.create_index("ix_invitations_email", "invitations", ["email"])
    op.create_table(
        "dashboards",
        sa.Column("id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("title", "description", "filters")),
        *_of_a_project_or_user("dashboards"),
    )
    op.create_table(
        "widget_configs",
        sa.Column("id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("type", "widget", "title")),
        sa.Column("weight", sa.Integer(), server_default="0", nullable=False),
        sa.Column("params", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        *_of_a_project_or_user("widget_configs"),
    )
    for table in ("dashboards", "widget_configs"):
        for column in ("project_id", "user_id"):
            op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table in ("widget_configs", "dashboards", "invitations"):
        op.drop_table(table)
    op.drop_constraint("fk_groups_owner_id", "groups", type_="foreignkey")
    op.drop_column("groups", "owner_id")


def _of_a_project_or_user(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=f"fk_{table}_project_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=f"fk_{table}_user_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )
