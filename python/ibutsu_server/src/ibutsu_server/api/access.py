"""Who asks, and what they may see: projects they own or are members of; superadmins everything."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar, cast

import flask
import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session
from werkzeug.exceptions import BadRequest, Forbidden, NotFound, Unauthorized

from ibutsu_server.api import operations
from ibutsu_server.store import accounts, pages, projects
from ibutsu_server.store.models import Base, Dashboard, Import, Project, User, WidgetConfig

Row = TypeVar("Row", bound=Base)

OwnedRow = TypeVar("OwnedRow", Dashboard, Import, WidgetConfig)
"""A row of a project, or of a user alone where `project_id` is None."""


def session() -> Session:
    """Return the request's session."""
    return cast("Session", flask.current_app.extensions["ibutsu_session"]())


def user() -> User:
    """Return who asks."""
    return cast("User", flask.g.user)


def authenticate() -> None:
    """Refuse a request of the API that has no valid token, unless its view needs none or looks at it itself."""
    if flask.request.endpoint is None:
        return
    described = operations.of(flask.current_app.view_functions[flask.request.endpoint])
    if described is None and flask.request.blueprint != "api":
        return
    if "\x00" in flask.request.full_path or any("\x00" in value for value in flask.request.args.values()):
        raise BadRequest("The address holds a NUL character.")
    if described is None or (described.needs_token and not described.identifies_itself):
        identify()


def identify() -> None:
    """Find the user of the request's token, or raise Unauthorized."""
    authorization = flask.request.authorization
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise Unauthorized("Send a token: Authorization: Bearer <token>.")
    identify_by(authorization.token)


def identify_by(token: str) -> None:
    """Find the user of the token, or raise Unauthorized."""
    found = accounts.user_of_bearer(session(), token)
    if found is None:
        raise Unauthorized("The token is not valid: it is malformed, expired or deleted.")
    flask.g.user = found


def require_superadmin() -> None:
    """Raise Forbidden unless the user is a superadmin."""
    if not user().is_superadmin:
        raise Forbidden("Only superadmins can do this.")


def uuid_of(text: str, what: str = "id") -> uuid.UUID:
    """Return the UUID that a client wrote, or raise BadRequest."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise BadRequest(f"The {what} {text[:80]!r} is not a UUID.") from None


def visible(project_id: InstrumentedAttribute[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that the user may see the project that the column names."""
    return pages.visible(session(), user(), project_id)


def visible_or_own(model: type[OwnedRow]) -> sa.ColumnElement[bool]:
    """Return the condition that the user may see the row: by its project, or as its own where it has none."""
    return sa.or_(visible(model.project_id), sa.and_(model.project_id.is_(None), model.user_id == user().id))


def require_project(project_id: uuid.UUID | None) -> None:
    """Raise Forbidden unless the user may see the project; what has no project is for superadmins."""
    if user().is_superadmin:
        return
    project = session().get(Project, project_id) if project_id else None
    if project is None or not projects.may_use(session(), user(), project):
        raise Forbidden("You are not a member of the project.")


def require_owner(project_id: uuid.UUID | None) -> None:
    """Raise Forbidden unless the user is the project's owner; what has no project is for superadmins."""
    require_project(project_id)
    if not user().is_superadmin and session().get_one(Project, project_id).owner_id != user().id:
        raise Forbidden("Only the project's owner can do this.")


def find(model: type[Row], text: str, what: str, *, lock: bool = False) -> Row:
    """Return the row with that id; raise BadRequest for no UUID, NotFound for no row. Checks no membership.

    A lock leaves the key to those that store what refers to the row.
    """
    key = uuid_of(text, f"{what} id")
    row = session().get(model, key, with_for_update={"key_share": True} if lock else None)
    if row is None:
        raise NotFound(f"There is no {what} {text}.")
    return row


def find_visible(model: type[OwnedRow], text: str, what: str) -> OwnedRow:
    """Return the row as `find` does; raise Forbidden unless the user may see it, by its project or as its own."""
    row = find(model, text, what)
    if row.project_id is not None or row.user_id != user().id:
        require_project(row.project_id)
    return row


def project_named(name: object) -> Project:
    """Return the project of that name or UUID, of which the user is a member; raise BadRequest or Forbidden."""
    if not isinstance(name, str):
        raise BadRequest("The project is neither a name nor a UUID.")
    found = projects.find(session(), name)
    if found is None:
        raise BadRequest(f"There is no project {name[:200]!r}.")
    require_project(found.id)
    return found


def project_of(metadata: dict[str, Any] | None, project_id: uuid.UUID | None) -> Project | None:
    """Return the project that a body names in `metadata.project`, else in `project_id`; None if in neither."""
    named = (metadata or {}).get("project")
    if named is not None and named != "":
        return project_named(named)
    return None if project_id is None else project_named(str(project_id))
