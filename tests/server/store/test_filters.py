"""Filters for equality find by an index just what comparing row after row finds."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from ibutsu_server.store import filters
from ibutsu_server.store.models import Dashboard, Import, Project, Result, Run, User, WidgetConfig

# As PostgreSQL gets them: Python's own numbers have lost what the text of one says.
LEAVES = [
    '"7"', "7", "7.0", "7.00", "-7", "-0", "0", "0.10", "0.1", '"0.1"', "1e2", "100", "1e-7", "12345678901234567890.5",
    "true", '"true"', "false", "null", '"null"', '""', '"a"', '"A"', r'"\"a\\"', '"雪"', r'"a\nb"', '"1.12.0"', '"07"',
    "[]", '["a"]', '["a", 7, 7.0]', '[["a"]]', '[{"name": "a", "args": []}]', '[{"name": 7}]', "[null]", '"[]"',
    "{}", '{"a": 1}', '{"x": "a"}', '{"x": {"x": 7}}', '{"0": "a"}', '"%"', '"_"', "9" * 40,
]  # fmt: skip
VALUES = [
    "7", "7.0", "7.00", "-7", "-0", "0", "0.1", "0.10", "1e2", "100", "0.0000001", "12345678901234567890.5", "true",
    "false", "null", "", "a", "A", '"a\\', "雪", "a\nb", "1.12.0", "07", "[]", '["a"]', '["a", 7, 7.0]', "{}",
    '{"a": 1}', "%", "_", "9" * 40, "9" * 5000, "NaN", "Infinity", "+7", " 7", "7.", ".5",
]  # fmt: skip
NUMBER = re.compile(r"-?(0|[1-9]\d{0,100})(\.\d+)?")
PATHS = ["k", "k.x", "k.x.x", "k.0", "k.-1", "k..x", "tags", "durations", "durations.x", "-1", "0"]


def slowly_equal(path: str, value: str) -> Any:
    """The text at the path is the value; an array of tags has it, as a text, a number or a name."""
    parts = path.split(".")
    text = sa.func.jsonb_extract_path_text(Result.data, *parts, type_=sa.Text)
    found = text == value
    if path == "tags":
        array = sa.func.jsonb_extract_path(Result.data, *parts, type_=JSONB)
        elements: list[Any] = [value, {"name": value}]
        found = sa.or_(found, *(array.contains([element]) for element in elements))
        if NUMBER.fullmatch(value):
            number = sa.cast(sa.literal(value, sa.Text), JSONB)
            found = sa.or_(found, array.contains(sa.func.jsonb_build_array(number)))
    return sa.func.coalesce(found, sa.false())


def test_metadata_equals_by_its_text_whatever_it_holds(session: Session) -> None:
    documents = [f'{{{json.dumps(key)}: {leaf}, "other": 7}}' for key in ("k", "tags", "durations", "-1", "0")
                 for leaf in LEAVES]  # fmt: skip
    session.execute(
        sa.text("INSERT INTO results (id, metadata) VALUES (:id, CAST(:data AS jsonb))"),
        [{"id": uuid.uuid4(), "data": document} for document in documents],
    )
    found = 0
    for path in PATHS:
        questions = {f"metadata.{path}={value}": slowly_equal(path, value) for value in VALUES}
        questions[f"metadata.{path}*7;a"] = sa.or_(slowly_equal(path, "7"), slowly_equal(path, "a"))
        if path == "tags":
            questions |= {text.replace("=", "!", 1): sa.not_(slow) for text, slow in questions.items() if "=" in text}
        differing = [
            sa.func.coalesce(*filters.conditions(session, Result, [text]), sa.false()) != slow
            for text, slow in questions.items()
        ]
        for text, differs in zip(questions, session.execute(holding(differing)).one(), strict=True):
            assert differs == 0, text
        found += sum(session.execute(holding(questions.values())).one())
    assert found > 100


def holding(conditions: Iterable[Any]) -> Any:
    """Count, for each condition, the rows that it holds for."""
    return sa.select(*(sa.func.count().filter(condition) for condition in conditions)).select_from(Result)


def test_texts_of_any_length_are_stored_and_told_apart(session: Session) -> None:
    alike = "é" * 200
    texts = ["", "a", "é" * 199, alike, alike + "1", alike + "2", "".join(map(str, range(200_000)))]
    for text in texts:
        session.add(Result(id=uuid.uuid4(), test_id=text, component=text, env=text, source=text, data={}))
    session.flush()
    for field in ("test_id", "component", "env", "source"):
        column = getattr(Result, field)
        for text in texts:
            where = filters.conditions(session, Result, [f"{field}={text}"])
            assert session.scalars(sa.select(column).where(*where)).all() == [text]
        where = filters.conditions(session, Result, [f"{field}*a;{alike}1;{alike}3"])
        assert set(session.scalars(sa.select(column).where(*where))) == {"a", alike + "1"}


@pytest.mark.parametrize("model", [Run, Result, Import, Project, Dashboard, WidgetConfig, User])
def test_every_operator_on_every_column_is_a_condition_or_is_refused_with_a_sentence(
    session: Session, model: filters.Model
) -> None:
    made: list[filters.Condition] = []
    for column in [*model.__table__.columns.keys(), "summary.tests", "metadata.k", "metadata.tags", "metadata.project"]:
        for operator in ("=", "!", ">", "<", ")", "(", ">=", "<=", "~", "%", "*", "@"):
            for value in ("true", "7", "2026-01-02", str(uuid.UUID(int=7)), ""):
                try:
                    made += filters.conditions(session, model, [f"{column}{operator}{value}"])
                except filters.FilterError as error:
                    assert column in str(error)
    assert session.scalar(sa.select(sa.func.count()).select_from(model).where(sa.or_(*made))) == 0
