"""Projects and groups."""

from __future__ import annotations

import uuid

from pydantic import Field

from ibutsu_server.api.schemas.common import Absent, Email, FilterQuery, In, Name, Out, Pagination, Text


class ProjectQuery(FilterQuery):
    """Which projects are asked for."""

    ownerId: uuid.UUID | Absent = None  # noqa: N815
    groupId: uuid.UUID | Absent = None  # noqa: N815


class Project(Out):
    """A project."""

    id: uuid.UUID
    name: str
    title: str | None
    owner_id: uuid.UUID | None
    group_id: uuid.UUID | None


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
