"""What is asked of PostgreSQL. Each statement looks at little, by an index or in memory."""

from __future__ import annotations

import sqlalchemy as sa

INSUFFICIENT_PRIVILEGE = "42501"

SERVER = sa.text("""
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
           clock_timestamp() AS now, extract(epoch FROM clock_timestamp())::float AS seconds,
           pg_database_size(current_database()) AS size,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
           current_setting('max_connections')::int AS connections,
           pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only
""")

SESSIONS = sa.text("""
    SELECT application_name, pid, host(client_addr) AS client,
           coalesce(extract(epoch FROM clock_timestamp() - state_change), 0)::float AS idle
    FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'ibutsu-%'
    ORDER BY backend_start
""")

LONG = sa.text("""
    SELECT pid, coalesce(split_part(application_name, ' ', 1), '') AS application,
           extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds,
           CASE WHEN state LIKE 'idle in transaction%' THEN extract(epoch FROM clock_timestamp() - state_change) END
           ::float AS idle
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND xact_start < clock_timestamp() - interval '1 minute'
    ORDER BY xact_start
""")

WRITE = sa.text("CREATE TEMPORARY TABLE ibutsu_doctor ON COMMIT DROP AS SELECT 1 AS one")

IMPORTS = sa.text("""
    WITH failed AS (
        SELECT id, filename, finished FROM imports
        WHERE status = 'error' AND created > now() - interval '2 days' AND finished > now() - interval '1 day'
    ),
    waiting AS (SELECT created FROM imports WHERE status = 'pending')
    SELECT (SELECT count(*) FROM failed) AS failed,
           (SELECT id::text FROM failed ORDER BY finished DESC LIMIT 1) AS failed_id,
           (SELECT filename FROM failed ORDER BY finished DESC LIMIT 1) AS failed_file,
           (SELECT count(*) FROM waiting) AS waiting, (SELECT min(created) FROM waiting) AS oldest
""")

LEDGER = sa.text("""
    SELECT newest.entry, newest.slot, newest.status, newest.error, newest.started,
           (SELECT max(finished) FROM maintenance WHERE entry = newest.entry AND status = 'done') AS succeeded
    FROM unnest(CAST(:names AS text[])) AS wanted (name)
    CROSS JOIN LATERAL (
        SELECT entry, slot, status, error, started FROM maintenance
        WHERE entry = wanted.name AND slot IS NOT NULL ORDER BY slot DESC LIMIT 1
    ) AS newest
""")
