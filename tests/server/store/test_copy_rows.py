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
from ibutsu_server.store import copy_format, copy_rows
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


PLACES = st.tuples(st.none() | TEXTS, st.none() | TEXTS, st.none() | TEXTS)


@given(
    data=st.data(), owners=st.tuples(st.uuids(), st.none() | st.uuids()), over=PLACES, form=OBJECTS, default=INSTANTS
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_results_are_read_back_as_they_were_written(
    connection: Any,
    *,
    data: st.DataObject,
    owners: tuple[uuid.UUID, uuid.UUID | None],
    over: tuple[str | None, ...],
    form: dict[str, Any],
    default: dt.datetime,
) -> None:
    # From a few of each, so that results share them with the one before, as they do in a report.
    starts, places, metadata = (
        st.sampled_from(data.draw(st.lists(one, min_size=1, max_size=3)))
        for one in (st.none() | INSTANTS, PLACES, OBJECTS)
    )
    row = st.tuples(
        st.uuids(), TEXTS, st.sampled_from(sorted(OUTCOMES)), starts, st.floats(0, 1e12), places, metadata,
        st.none() | OBJECTS,
    )  # fmt: skip
    rows = data.draw(st.lists(row, max_size=6))
    source, component, env = over
    encoder = copy_rows.ResultRows(*owners, start=default, source=source, component=component, env=env, metadata=form)
    written = [
        encoder.row(
            ResultRecord(
                one.bytes, owners[0], test_id, outcome, start, duration, place[0], own, place[1], place[2], params
            )
        )
        for one, test_id, outcome, start, duration, place, own, params in rows
    ]
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE results")
        cursor.copy_expert(
            f"COPY results ({copy_rows.RESULT_COLUMNS}) FROM STDIN (FORMAT binary)",
            io.BytesIO(b"".join([copy_format.HEADER, *written, copy_format.END])),
        )
        cursor.execute(f"SELECT {copy_rows.RESULT_COLUMNS} FROM results")
        stored = cursor.fetchall()
    texts = [None if one is None else str(one) for one in owners]
    assert stored == [
        (
            str(one), *texts, test_id, outcome, start or default, duration,
            *(instead or own for instead, own in zip(over, place, strict=True)), merged(own_metadata, form), params,
        )
        for one, test_id, outcome, start, duration, place, own_metadata, params in rows
    ]  # fmt: skip


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
