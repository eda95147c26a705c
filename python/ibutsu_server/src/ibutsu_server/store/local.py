"""The account, the project and the token of a system that one person runs on their own machine."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.store import accounts
from ibutsu_server.store.database import create_engine
from ibutsu_server.store.models import Project, ProjectMember

LOCAL_PROJECT = "local"
LOCAL_TOKEN = "ibutsu up"  # noqa: S105 - a name


@dataclasses.dataclass(frozen=True, slots=True)
class LocalAccess:
    """How to reach the local system: a bearer token, and the name of the project that exists there."""

    token: str = dataclasses.field(repr=False)
    project: str


def ensure_local_access(database: DatabaseSettings, *, email: str, password: str) -> LocalAccess:
    """Make the superadmin, the project and the token where they lack, set the password, and return the access."""
    engine = create_engine(database, application="ibutsu-up", pool_size=1)
    try:
        with Session(engine) as session, session.begin():
            user = accounts.ensure_user(session, email=email, password=password, is_superadmin=True)
            project = session.scalar(sa.select(Project).where(Project.name == LOCAL_PROJECT))
            if project is None:
                project = Project(name=LOCAL_PROJECT, title="Local", owner_id=user.id)
                session.add(project)
                session.flush()
                session.add(ProjectMember(project_id=project.id, user_id=user.id))
            accounts.delete_tokens(session, user, name=LOCAL_TOKEN)
            return LocalAccess(token=accounts.create_token(session, user, name=LOCAL_TOKEN), project=project.name)
    finally:
        engine.dispose()
