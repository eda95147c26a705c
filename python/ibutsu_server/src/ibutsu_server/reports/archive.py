"""Ibutsu archives, as `pytest-ibutsu` writes them, as a stream of records.

    <run id>/run.json                     may be anywhere, or missing
    <run id>/<any name>                   an artifact of the run
    <run id>/<result id>/result.json
    <run id>/<result id>/<any path>       an artifact of the result

The ids are those of the folders. A second `run.json`, or `result.json` of one folder, is an artifact: tests attach
files of that name. A result that its client could not write counts as an error.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, cast

from ibutsu_server.reports.errors import NAME_LENGTH, ReportError, shown
from ibutsu_server.reports.idset import IdSet
from ibutsu_server.reports.jsontext import JsonObject
from ibutsu_server.reports.limits import Limits
from ibutsu_server.reports.records import OUTCOMES, ArtifactRecord, Outcome, Record, ResultRecord, RunRecord
from ibutsu_server.reports.streams import PIECE, read_fully
from ibutsu_server.reports.tar import TarMember
from ibutsu_server.reports.values import as_uuid, instant

# What pytest-ibutsu writes in place of a run or result that does not serialise.
_NOT_SERIALISED = "serialization_failed"

EARLY = 10_000  # folders whose result.json is still to come
NOTES = 20  # sentences that a run is given


def read_archive(members: Iterable[TarMember], limits: Limits) -> Iterator[Record]:
    archive = _Archive(limits)
    for member in members:
        yield from archive.read(member)
    yield archive.finish()


class _Archive:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._run_id: uuid.UUID | None = None
        self._run: RunRecord | None = None
        self._results = IdSet()
        # Folders that had an artifact before their result.json: few, since a folder's files stand together.
        self._early: dict[uuid.UUID, str] = {}
        self._start: dt.datetime | None = None
        self._project: str | None = None
        self._notes: list[str] = []
        self._not_written = 0

    def read(self, member: TarMember) -> Iterator[Record]:
        parts = member.parts
        if not parts or (len(parts) == 1 and not member.is_dir):
            return  # "./", or a file beside the run, such as a desktop's own
        run_id = self._id(member, 0)
        if self._run_id is None:
            self._run_id = run_id
            yield RunRecord(id=run_id)
        elif run_id != self._run_id:
            raise ReportError(f"it belongs to another run than {self._run_id}; an archive has one", member=member.name)
        if len(parts) == 1:
            return
        if len(parts) == 2 and not member.is_dir:
            yield from self._run_file(member, run_id)
            return
        result_id = self._id(member, 1)
        if not member.is_dir:
            yield from self._result_file(member, run_id, result_id)

    def finish(self) -> RunRecord:
        """The run, once all is read."""
        if self._run_id is None:
            raise ReportError("it holds no folder of a run")
        for result_id, name in self._early.items():
            raise ReportError(f"the folder of result {result_id} has no result.json", member=name)
        if self._not_written > NOTES:
            self._notes.append(f"{self._not_written - NOTES:,} more results were not written and count as errors.")
        run = self._run
        metadata: dict[str, Any] = dict(run.metadata) if run else {}
        return RunRecord(
            id=self._run_id,
            start_time=(run.start_time if run else None) or self._start,
            duration=run.duration if run else None,
            source=run.source if run else None,
            component=run.component if run else None,
            env=run.env if run else None,
            project=(run.project if run else None) or self._project,
            summary=run.summary if run else {},
            metadata=metadata,
            notes=tuple(self._notes),
        )

    @staticmethod
    def _id(member: TarMember, place: int) -> uuid.UUID:
        found = as_uuid(member.parts[place])
        if found is None:
            raise ReportError(
                f"the folder {member.parts[place]!r} should be named for the UUID of a {('run', 'result')[place]}",
                member=member.name,
            )
        return found

    def _run_file(self, member: TarMember, run_id: uuid.UUID) -> Iterator[Record]:
        if member.parts[1] == "run.json" and self._run is None:
            self._run = self._run_record(member, run_id)
            yield self._run
        else:
            yield ArtifactRecord(filename=_holdable(member.parts[1]), chunks=_chunks(member), run_id=run_id)

    def _result_file(self, member: TarMember, run_id: uuid.UUID, result_id: uuid.UUID) -> Iterator[Record]:
        if member.parts[2:] == ("result.json",) and result_id not in self._results:
            self._results.add(result_id)
            if len(self._results) > self._limits.results:
                raise ReportError(f"it has more than {self._limits.results:,} results", limit="results")
            self._early.pop(result_id, None)
            yield self._result_record(member, run_id, result_id)
            return
        if result_id not in self._results:
            self._early.setdefault(result_id, shown(member.name, NAME_LENGTH))
            if len(self._early) > EARLY:
                raise ReportError(f"more than {EARLY:,} folders have files before their result.json")
        filename = _holdable("/".join(member.parts[2:]))
        yield ArtifactRecord(filename=filename, chunks=_chunks(member), result_id=result_id)

    def _json(self, member: TarMember) -> JsonObject:
        if member.size > self._limits.json_size:
            raise ReportError(
                f"it is larger than {self._limits.json_size:,} bytes", limit="json_size", member=member.name
            )
        return JsonObject(read_fully(member, member.size), member.name, self._limits)

    def _run_record(self, member: TarMember, run_id: uuid.UUID) -> RunRecord:
        run = self._json(member)
        if run.values.get("error") == _NOT_SERIALISED:
            self._notes.append("The client could not write its run.json; the run is built from the results.")
        metadata = run.mapping("metadata") or {}
        return RunRecord(
            id=run_id,
            start_time=instant(run.text("start_time")),
            duration=run.number("duration"),
            source=run.text("source"),
            component=_text(metadata, "component") or run.text("component"),
            env=_text(metadata, "env") or run.text("env"),
            project=_text(metadata, "project") or run.text("project_id"),
            summary=run.mapping("summary") or {},
            metadata=metadata,
        )

    def _result_record(self, member: TarMember, run_id: uuid.UUID, result_id: uuid.UUID) -> ResultRecord:
        result = self._json(member)
        metadata = _promoted(result.mapping("metadata") or {})
        metadata.setdefault("run", str(run_id))
        if result.values.get("error") == _NOT_SERIALISED:
            self._not_written += 1
            if self._not_written <= NOTES:
                self._notes.append(f"The client could not write result {result_id}; it counts as an error.")
            return ResultRecord(
                id_bytes=result_id.bytes,
                run_id=run_id,
                test_id="(not written by the client)",
                result="error",
                start_time=None,
                duration=0.0,
                source=None,
                metadata=metadata | {"message": _NOT_SERIALISED},
            )
        test_id, outcome = result.text("test_id"), result.text("result")
        if not test_id:
            raise ReportError('it has no "test_id"', member=member.name)
        if outcome not in OUTCOMES:
            raise ReportError(
                f'its "result" is {outcome!r}, not one of {", ".join(sorted(OUTCOMES))}', member=member.name
            )
        start = instant(result.text("start_time"))
        if start is not None:
            self._start = min(self._start or start, start)
        self._project = self._project or _text(metadata, "project") or result.text("project_id")
        return ResultRecord(
            id_bytes=result_id.bytes,
            run_id=run_id,
            test_id=test_id,
            result=cast("Outcome", outcome),
            start_time=start,
            duration=result.number("duration") or 0.0,
            source=result.text("source"),
            component=_text(metadata, "component") or result.text("component"),
            env=_text(metadata, "env") or result.text("env"),
            metadata=metadata,
            params=result.mapping("params"),
        )


def _promoted(metadata: dict[str, Any]) -> dict[str, Any]:
    """`user_properties` as keys of the metadata instead, but for those that are there already; as the API does it."""
    properties = metadata.get("user_properties")
    if not isinstance(properties, dict):
        return metadata
    return properties | {key: value for key, value in metadata.items() if key != "user_properties"}


def _text(metadata: dict[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) and value else None


def _holdable(name: str) -> str:
    return name.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _chunks(member: TarMember) -> Iterator[bytes]:
    while data := member.read(PIECE):
        yield data
