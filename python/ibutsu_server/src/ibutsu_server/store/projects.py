"""Projects: finding them by name or id, who may use them, and their end."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ibutsu_server.store.models import Artifact, Invitation, Project, ProjectMember, Result, Run, User

FIELDS = (
    "id", "test_id", "result", "component", "env", "run_id", "project_id", "source", "duration", "start_time",
)  # fmt: skip
"""The columns of a result that filters can name."""

BATCH = 1000
"""Results or runs that are deleted at once at most, with what belongs to them."""


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


def add_members(session: Session, project_id: uuid.UUID, emails: Iterable[str]) -> None:
    """Make the people with these addresses members: at once, or when they get an account. Does not commit."""
    wanted = {email.lower() for email in emails}
    known = {user.email: user for user in session.scalars(sa.select(User).where(User.email.in_(wanted)))}
    for user in known.values():
        member = insert(ProjectMember).values(project_id=project_id, user_id=user.id)
        session.execute(member.on_conflict_do_nothing())
    for email in wanted - known.keys():
        session.execute(insert(Invitation).values(project_id=project_id, email=email).on_conflict_do_nothing())


def accept_invitations(session: Session, user: User) -> None:
    """Make the user, who is stored, a member of the projects that invited their address. Does not commit."""
    taken = sa.delete(Invitation).where(Invitation.email == user.email).returning(Invitation.project_id)
    for project_id in session.scalars(taken).all():
        member = insert(ProjectMember).values(project_id=project_id, user_id=user.id)
        session.execute(member.on_conflict_do_nothing())


def delete(session: Session, project_id: uuid.UUID) -> None:
    """Delete the project with its runs and all that belongs to them.

    Commits batch after batch, so that none takes long: what is deleted stays deleted should the rest have to wait. What
    others add meanwhile goes with the project at last, when its row is locked and nobody can add any more.
    """
    for table, owner in ((Result, Artifact.result_id), (Run, Artifact.run_id)):
        chosen = sa.select(table.id).where(table.project_id == project_id).limit(BATCH)
        while ids := session.scalars(chosen).all():
            session.execute(sa.delete(Artifact).where(owner.in_(ids)))
            session.execute(sa.delete(table).where(table.id.in_(ids)))
            session.commit()
    session.execute(sa.select(Project.id).where(Project.id == project_id).with_for_update())
    for added in (Result, Run):
        session.execute(sa.delete(added).where(added.project_id == project_id))
    session.execute(sa.delete(Project).where(Project.id == project_id))
    session.commit()


def filter_params(session: Session, project_id: uuid.UUID) -> list[str]:
    """Return the names that filters of the project's results can use, by its newest result; none without results."""
    newest = sa.select(Result).where(Result.project_id == project_id)
    found = session.scalar(newest.order_by(Result.start_time.desc(), Result.id.desc()).limit(1))
    if found is None:
        return []
    return [*FIELDS, *sorted(_leaves("metadata", found.data))]


def _leaves(prefix: str, value: dict[str, object]) -> Iterable[str]:
    for key, item in value.items():
        # A filter can name no other keys.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
            continue
        path = f"{prefix}.{key}"
        if isinstance(item, dict) and item:
            yield from _leaves(path, item)
        else:
            yield path
