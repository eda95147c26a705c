"""Which retention policy holds for which project, and the cut-offs that follow."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from ibutsu_core.retention import Kind, RetentionError, RetentionPolicy, cutoff
from ibutsu_server.store.models import Project


@dataclasses.dataclass(frozen=True, slots=True)
class Cutoffs:
    """The instant before which rows of one kind may go, by their project.

    `default` is for what has no project too; it is None where nothing but `own` is meant.
    """

    default: dt.datetime | None
    own: Mapping[uuid.UUID, dt.datetime]

    @property
    def latest(self) -> dt.datetime | None:
        """The instant from which on nothing may go, whatever its project; None where nothing is meant at all."""
        return max([*self.own.values(), *([self.default] if self.default else [])], default=None)

    def as_parameters(self) -> dict[str, Any]:
        """Return what a statement needs to find the cut-off of a row's project."""
        return {"projects": list(self.own), "cutoffs": list(self.own.values()), "cutoff": self.default}


@dataclasses.dataclass(frozen=True, slots=True)
class Policies:
    """The policy of each project. `default` is that of rows without a project; None leaves these alone."""

    default: RetentionPolicy | None
    projects: Mapping[uuid.UUID, RetentionPolicy]

    def cutoffs(self, kind: Kind, now: dt.datetime) -> Cutoffs:
        """Return the cut-offs of the kind at the instant `now`; those that are the default's are not in `own`."""
        months = {
            policy.months(kind) for policy in (*self.projects.values(), *([self.default] if self.default else ()))
        }
        instants = {count: cutoff(count, now) for count in months}
        default = instants[self.default.months(kind)] if self.default else None
        own = {
            project: instants[policy.months(kind)]
            for project, policy in self.projects.items()
            if instants[policy.months(kind)] != default
        }
        return Cutoffs(default, own)

    def each(self, kind: Kind, now: dt.datetime) -> Iterator[tuple[uuid.UUID | None, dt.datetime]]:
        """Yield each project, and None for what has none, with the cut-off of the kind."""
        cutoffs = self.cutoffs(kind, now)
        if cutoffs.default is not None:
            yield None, cutoffs.default
        for project in self.projects:
            instant = cutoffs.own.get(project, cutoffs.default)
            if instant is not None:
                yield project, instant


def read(connection: sa.Connection, default: RetentionPolicy, *, only: uuid.UUID | None = None) -> Policies:
    """Read the projects' own policies; `default` is for all others. With `only`, nothing but that project is meant.

    Raises RetentionError, which names the project, for a stored policy that makes no sense.
    """
    query = sa.select(Project.id, Project.name, Project.retention).order_by(Project.id)
    if only is not None:
        query = query.where(Project.id == only)
    projects = {}
    for row in connection.execute(query):
        try:
            projects[row.id] = default if row.retention is None else RetentionPolicy.of(row.retention)
        except RetentionError as error:
            raise RetentionError(f"The policy of the project {row.name!r} makes no sense: {error}") from error
    return Policies(default if only is None else None, projects)
