"""Archives made by Hypothesis, as pytest-ibutsu writes them: what a plain model says must come out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import tarfile
import uuid
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ibutsu_server.reports.records import OUTCOMES

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = TEXTS.filter(bool)
SCALARS = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)
TIMES = st.none() | st.datetimes(
    dt.datetime(1990, 1, 1),  # noqa: DTZ001
    dt.datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.none() | st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-5, minutes=30))]),
)
DURATIONS = st.none() | st.floats(0, 1e9) | st.integers(0, 10**12)
PARTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=120).filter(
    lambda part: part not in {".", "..", "run.json", "result.json"}
)
CONTENTS = st.binary(max_size=40) | st.integers(500, 70_000).map(lambda size: b"x" * size)

METADATA = st.builds(
    lambda free, known: free | {key: value for key, value in known.items() if value is not None},
    OBJECTS,
    st.fixed_dictionaries(
        {
            "env": st.none() | WORDS | st.just(7),
            "component": st.none() | WORDS,
            "project": st.none() | WORDS,
            "user_properties": st.none() | OBJECTS | st.dictionaries(st.sampled_from(["env", "project"]), WORDS),
        }
    ),
)
COMMON = {
    "start_time": TIMES,
    "duration": DURATIONS,
    "source": st.none() | TEXTS,
    "component": st.none() | WORDS,
    "env": st.none() | WORDS,
    "metadata": st.none() | METADATA,
}
RUNS = st.fixed_dictionaries(COMMON | {"summary": st.none() | OBJECTS}, optional={"project_id": WORDS})
RESULTS = st.fixed_dictionaries(
    COMMON | {"test_id": WORDS, "result": st.sampled_from(sorted(OUTCOMES)), "params": st.none() | OBJECTS},
    optional={"project_id": WORDS},
)


@dataclasses.dataclass
class Archive:
    run_id: uuid.UUID
    members: list[tuple[str, bytes]]
    run: dict[str, Any] | None
    results: dict[uuid.UUID, dict[str, Any]]
    run_files: list[tuple[str, bytes]]
    files: dict[uuid.UUID, list[tuple[str, bytes]]]


def as_json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, default=dt.datetime.isoformat).encode()


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    run_id, *result_ids = draw(st.lists(st.uuids(), min_size=1, max_size=4, unique=True))
    run = draw(st.none() | RUNS)
    # Each member with where it must be found: the run, or a result, as JSON or as a file of that name.
    planned: list[tuple[uuid.UUID | None, str | None, Any]] = [] if run is None else [(None, None, run)]
    planned += [(None, name, data) for name, data in draw(st.lists(st.tuples(PARTS, CONTENTS), max_size=2))]
    for result_id in result_ids:
        planned.append((result_id, None, draw(RESULTS)))
        paths = st.lists(PARTS, min_size=1, max_size=3).map("/".join) | st.just("logs/result.json")
        planned += [(result_id, path, data) for path, data in draw(st.lists(st.tuples(paths, CONTENTS), max_size=3))]
    archive = Archive(run_id, [], run, {}, [], {})
    if not planned or draw(st.booleans()):
        archive.members.append((f"{run_id}/", b""))
    prefix = draw(st.sampled_from(["", "./"]))
    for owner, path, contents in draw(st.permutations(planned)):
        folder = f"{prefix}{run_id}" if owner is None else f"{prefix}{run_id}/{owner}"
        if path is None:
            archive.members.append((f"{folder}/{'run' if owner is None else 'result'}.json", as_json(contents)))
            if owner is not None:
                archive.results[owner] = contents
        else:
            archive.members.append((f"{folder}/{path}", contents))
            files = archive.run_files if owner is None else archive.files.setdefault(owner, [])
            files.append((path, contents))
    return archive


def clean(value: Any) -> Any:
    """`value` as PostgreSQL can hold it."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [clean(one) for one in value]
    if isinstance(value, dict):
        return {clean(key): clean(one) for key, one in value.items()}
    return value


def word(*values: Any) -> str | None:
    """The first that is text, and not empty."""
    return next((value for value in values if isinstance(value, str) and value), None)


def in_utc(time: dt.datetime | None) -> dt.datetime | None:
    return time if time is None else time.replace(tzinfo=time.tzinfo or dt.UTC).astimezone(dt.UTC)


def check_common(record: Any, written: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert record.start_time == in_utc(written["start_time"])
    assert record.source == clean(written["source"])
    assert record.env == word(metadata.get("env"), clean(written["env"]))
    assert record.component == word(metadata.get("component"), clean(written["component"]))
    assert record.metadata == metadata


@given(archive=archives(), format_=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), packed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_was_packed_is_read(archive: Archive, format_: int, packed: bool, tar: Any, read: Any) -> None:
    report = read(tar(archive.members, "w:gz" if packed else "w", format=format_))
    assert report.format == "archive"
    assert report.run.id == archive.run_id
    assert report.run_files == archive.run_files
    assert report.files == archive.files
    assert [result.id for result in report.results] == list(archive.results)
    projects = []
    for result, written in zip(report.results, archive.results.values(), strict=True):
        metadata = clean(written["metadata"] or {})
        properties = metadata.get("user_properties")
        if isinstance(properties, dict):
            del metadata["user_properties"]
            metadata = properties | metadata
        metadata.setdefault("run", str(archive.run_id))
        check_common(result, written, metadata)
        assert result.test_id == clean(written["test_id"])
        assert result.result == written["result"]
        assert result.duration == float(written["duration"] or 0)
        assert result.params == clean(written["params"])
        projects.append(word(metadata.get("project"), clean(written.get("project_id"))))
    run = archive.run or {"start_time": None, "source": None, "env": None, "component": None, "metadata": None}
    metadata = clean(run["metadata"] or {})
    assert report.run.project == word(metadata.get("project"), clean(run.get("project_id")), *projects)
    assert report.run.summary == clean(run.get("summary") or {})
    assert report.run.duration == run.get("duration")
    if run["start_time"] is None:
        starts = [in_utc(written["start_time"]) for written in archive.results.values() if written["start_time"]]
        assert report.run.start_time == min(starts, default=None)
    check_common(report.run, run | {"start_time": report.run.start_time}, metadata)
    if run["start_time"] is not None:
        assert report.run.start_time == in_utc(run["start_time"])


@given(archive=archives(), cut=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_an_archive_that_is_cut_short_is_refused(archive: Archive, cut: float, tar: Any, refuse: Any) -> None:
    data = tar(archive.members)
    refuse(data[: int(len(data) * cut)])
