"""Projects and groups."""

from __future__ import annotations

import uuid

from pydantic import BaseModel, ConfigDict, Field

from ibutsu_server.api.schemas.common import Absent, Email, FilterQuery, In, Name, Out, Pagination, Text, Whole


class ProjectQuery(FilterQuery):
    """Which projects are asked for."""

    ownerId: uuid.UUID | Absent = None  # noqa: N815
    groupId: uuid.UUID | Absent = None  # noqa: N815


class Retention(Out):
    """How many months a project keeps each kind."""

    artifacts: int
    results: int
    runs: int


class RetentionIn(BaseModel):
    """A project's own policy as a client sends it; what is left out is as in the default policy."""

    model_config = ConfigDict(extra="forbid")

    artifacts: Whole | None = None
    results: Whole | None = None
    runs: Whole | None = None


class Project(Out):
    """A project. `retention` is its own policy, null where it has none."""

    id: uuid.UUID
    name: str
    title: str | None
    owner_id: uuid.UUID | None
    group_id: uuid.UUID | None
    retention: Retention | None


class ProjectIn(In):
    """A project as a client sends it; all is optional in an update."""

    id: uuid.UUID | None = None
    name: Name | None = None
    title: Text | None = None
    group_id: uuid.UUID | None = None
    users: list[Email] | None = Field(
        None,
        max_length=1000,
        description="E-mail addresses of new members; one without an account joins when it gets one.",
    )
    retention: RetentionIn | None = Field(
        None,
        description="Months that the project keeps artifacts, results and runs. Of those left out the default policy's "
        "months are taken for good; {} gives the project back to the default policy.",
    )


class AdminProjectIn(ProjectIn):
    """A project as an administrator sends it."""

    owner_id: uuid.UUID | None = None


class Projects(Out):
    """A page of projects."""

    projects: list[Project]
    pagination: Pagination


class Group(Out):
    """A group of projects and users."""

    id: uuid.UUID
    name: str


class GroupIn(In):
    """A group as a client sends it."""

    id: uuid.UUID | None = None
    name: Name | None = None


class Groups(Out):
    """A page of groups."""

    groups: list[Group]
    pagination: Pagination
