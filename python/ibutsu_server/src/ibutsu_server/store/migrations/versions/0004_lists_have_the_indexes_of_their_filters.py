"""Lists have the indexes that their filters need.

Nothing is written to a table while its indexes are made.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXTS = {"runs": ("component", "env", "source"), "results": ("test_id", "component", "env", "source")}
_METADATA = "(metadata - '{durations,short_tb,statuses,node_id}'::text[])"


def upgrade() -> None:
    op.execute("SET LOCAL maintenance_work_mem = '128MB'")
    op.drop_index("ix_results_run_id", table_name="results")
    op.create_index("ix_results_run_id_start_time", "results", ["run_id", "start_time", "id"])
    for owner in ("project_id", "run_id"):
        op.create_index(
            f"ix_results_{owner}_result",
            "results",
            [owner, "result", "start_time", "id"],
            postgresql_where=sa.text("result <> 'passed'"),
        )
    for table, columns in _TEXTS.items():
        op.drop_index(f"ix_{table}_start_time", table_name=table)
        op.create_index(f"ix_{table}_start_time", table, ["start_time", "id"])
        for column in columns:
            start = f'"left"({column}, 200)'
            op.create_index(
                f"ix_{table}_project_id_{column}",
                table,
                ["project_id", sa.text(start)],
                postgresql_where=sa.text(f"{column} IS NOT NULL"),
            )
            # Of the expressions of partial indexes PostgreSQL keeps no statistics that it uses.
            op.execute(f"CREATE STATISTICS st_{table}_{column} ON ({start}) FROM {table}")
        op.create_index(
            f"ix_{table}_metadata",
            table,
            [sa.literal_column(_METADATA).label("indexed")],
            postgresql_using="gin",
            postgresql_ops={"indexed": "jsonb_path_ops"},
        )
    op.create_index("ix_imports_created", "imports", ["created", "id"])
    # A hundred samples do not tell what one result in a hundred has from what one in a thousand has.
    op.execute("ALTER INDEX ix_results_metadata ALTER COLUMN 1 SET STATISTICS 500")
    for table in _TEXTS:
        op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    op.drop_index("ix_imports_created", table_name="imports")
    for table, columns in _TEXTS.items():
        op.drop_index(f"ix_{table}_metadata", table_name=table)
        for column in columns:
            op.execute(f"DROP STATISTICS st_{table}_{column}")
            op.drop_index(f"ix_{table}_project_id_{column}", table_name=table)
        op.drop_index(f"ix_{table}_start_time", table_name=table)
        op.create_index(f"ix_{table}_start_time", table, ["start_time"])
    for name in ("project_id_result", "run_id_result", "run_id_start_time"):
        op.drop_index(f"ix_results_{name}", table_name="results")
    op.create_index("ix_results_run_id", "results", ["run_id"])
