"""Projects: finding them by name or id, and who may use them."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_server.store.models import Project, ProjectMember, User


def find(session: Session, name_or_id: str) -> Project | None:
    """Return the project with this name or, in its text form, this id."""
    try:
        project = session.get(Project, uuid.UUID(name_or_id))
    except ValueError:
        project = None
    return project or session.scalar(sa.select(Project).where(Project.name == name_or_id))


def may_use(session: Session, user: User, project: Project) -> bool:
    """Tell whether the user is a superadmin, the project's owner or one of its members."""
    if user.is_superadmin or project.owner_id == user.id:
        return True
    return session.get(ProjectMember, (project.id, user.id)) is not None
