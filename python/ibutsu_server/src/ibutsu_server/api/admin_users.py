"""Users, for administrators."""

from __future__ import annotations

import flask
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import BadRequest

from ibutsu_server.api import access, answers, filters, groups, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store import accounts, projects
from ibutsu_server.store.models import User

TAKEN = "The e-mail address is taken."


def serialise(user: User) -> schemas.User:
    """Return the user as the contract has it."""
    return schemas.User.model_validate(user)


@api.get("/admin/user")
@operation(query=schemas.FilterQuery, answers={200: schemas.Users}, errors=(403,))
def admin_get_users(query: schemas.FilterQuery) -> flask.Response:
    """List the users."""
    access.require_superadmin()
    where = filters.conditions(User, query.filter)
    return answers.page("users", User, serialise, query, where=where, order=[User.email.asc()])


@api.post("/admin/user")
@operation(body=schemas.AdminUserIn, answers={201: schemas.User}, errors=(403,))
def admin_add_user(body: schemas.AdminUserIn) -> flask.Response:
    """Make a user, who can log in at once when active."""
    access.require_superadmin()
    if body.email is None:
        raise BadRequest("The user needs an e-mail address.")
    session = access.session()
    if session.scalar(sa.select(User.id).where(User.email == body.email.lower())):
        raise BadRequest(TAKEN)
    user = accounts.ensure_user(session, email=body.email, password=body.password, name=body.name)
    _change(user, body)
    return answers.one(serialise(user), 201)


@api.get("/admin/user/<user_id>")
@operation(answers={200: schemas.User}, errors=(403, 404))
def admin_get_user(user_id: str) -> flask.Response:
    """Answer with one user."""
    return answers.one(serialise(_find(user_id)))


@api.put("/admin/user/<user_id>")
@operation(body=schemas.AdminUserIn, answers={200: schemas.User}, errors=(403, 404))
def admin_update_user(user_id: str, body: schemas.AdminUserIn) -> flask.Response:
    """Change the given fields."""
    user = _find(user_id)
    if user.id == access.user().id and False in (body.is_active, body.is_superadmin):
        raise BadRequest("Another superadmin must do that to you, so that one is left.")
    if body.password is not None:
        user.password_hash = accounts.hash_password(body.password)
    _change(user, body)
    return answers.one(serialise(user))


@api.delete("/admin/user/<user_id>")
@operation(answers={200: schemas.Message}, errors=(403, 404))
def admin_delete_user(user_id: str) -> flask.Response:
    """Delete the user and their tokens; their projects and runs stay."""
    user = _find(user_id)
    if user.id == access.user().id:
        raise BadRequest("Another superadmin must do that to you, so that one is left.")
    access.session().execute(sa.delete(User).where(User.id == user.id))
    access.session().commit()
    return answers.message("The user is deleted.")


def _find(user_id: str) -> User:
    access.require_superadmin()
    return access.find(User, user_id, "user")


def _change(user: User, body: schemas.AdminUserIn) -> None:
    if body.group_id and body.group_id != user.group_id:
        groups.require(body.group_id)
    for name, value in body.given("name", "is_superadmin", "is_active", "group_id").items():
        setattr(user, name, value)
    session = access.session()
    try:
        if body.email is not None and body.email.lower() != user.email:
            user.email = body.email.lower()
            session.flush()
            projects.accept_invitations(session, user)
        session.commit()
    except IntegrityError as error:
        raise BadRequest(TAKEN) from error
