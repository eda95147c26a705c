"""Rows in COPY's binary format: PostgreSQL reads back what was written."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibutsu_core.records import OUTCOMES, ResultRecord
from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import copy_rows
from ibutsu_server.store.metadata import merged

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
MINUTES = 60 * 24 * 365 * 7000
INSTANTS = st.builds(
    lambda minutes, microseconds: (
        dt.datetime(2000, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=minutes, microseconds=microseconds)
    ),
    st.integers(-MINUTES // 4, MINUTES),
    st.integers(0, 60_000_000),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)


@pytest.fixture(scope="module")
def connection(template: DatabaseSettings, postgres_server: DatabaseSettings) -> Iterator[Any]:
    """A connection whose results refer to nothing and are never committed."""
    server = postgres_server
    connection = psycopg2.connect(
        host=server.host, port=server.port, user=server.user, password=server.password, dbname=server.database
    )
    columns = "id uuid, run_id uuid, project_id uuid, test_id text, result text, start_time timestamptz, "
    columns += "duration float8, source text, component text, env text, metadata jsonb, params jsonb"
    with connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute(f"CREATE TEMPORARY TABLE results ({columns})")
    yield connection
    connection.close()


@given(
    rows=st.lists(
        st.tuples(
            st.uuids(), TEXTS, st.sampled_from(sorted(OUTCOMES)), INSTANTS, st.floats(0, 1e12),
            st.none() | TEXTS, st.none() | TEXTS, st.none() | TEXTS, OBJECTS, st.none() | OBJECTS,
        ),
        max_size=6,
    ),
    owner=st.uuids(), project=st.none() | st.uuids(),
)  # fmt: skip
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_results_are_read_back_as_they_were_written(
    connection: Any, rows: list[tuple[Any, ...]], owner: uuid.UUID, project: uuid.UUID | None
) -> None:
    encoder = copy_rows.ResultRows(owner, project)
    data = [copy_rows.HEADER]
    for one, test_id, outcome, start, duration, source, component, env, metadata, params in rows:
        record = ResultRecord(one.bytes, owner, test_id, outcome, start, duration, source, metadata, params=params)
        data.append(encoder.row(record, start=start, source=source, component=component, env=env, metadata=metadata))
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE results")
        cursor.copy_expert(
            f"COPY results ({copy_rows.RESULT_COLUMNS}) FROM STDIN (FORMAT binary)",
            io.BytesIO(b"".join([*data, copy_rows.END])),
        )
        cursor.execute(f"SELECT {copy_rows.RESULT_COLUMNS} FROM results")
        stored = cursor.fetchall()
    place = None if project is None else str(project)
    assert stored == [(str(row[0]), str(owner), place, *row[1:]) for row in rows]


@given(base=OBJECTS, over=OBJECTS)
def test_merged_metadata_has_every_key_and_the_newer_value(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = repr(base)
    both = merged(base, over)
    assert both.keys() == base.keys() | over.keys()
    for key, value in both.items():
        if isinstance(base.get(key), dict) and isinstance(over.get(key), dict):
            assert value == merged(base[key], over[key])
        else:
            assert value == (over[key] if key in over else base[key])
    assert merged(both, over) == both
    assert repr(base) == before
