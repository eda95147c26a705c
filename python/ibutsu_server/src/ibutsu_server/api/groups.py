"""Groups of projects and users. Who makes one owns it; it is seen by them, its users and those of its projects."""

from __future__ import annotations

import uuid

import flask
import sqlalchemy as sa
from werkzeug.exceptions import BadRequest, Conflict, Forbidden, NotFound

from ibutsu_server.api import access, answers, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store.models import Group, Project


def serialise(group: Group) -> schemas.Group:
    """Return the group as the contract has it."""
    return schemas.Group.model_validate(group)


@api.get("/group")
@operation(query=schemas.PageQuery, answers={200: schemas.Groups})
def get_groups(query: schemas.PageQuery) -> flask.Response:
    """List the groups that the user may see."""
    return answers.page("groups", Group, serialise, query, where=[_visible()], order=[Group.name.asc(), Group.id.asc()])


@api.post("/group")
@operation(body=schemas.GroupIn, answers={201: schemas.Group}, errors=(409,))
def add_group(body: schemas.GroupIn) -> flask.Response:
    """Make a group; who asks becomes its owner."""
    if body.name is None:
        raise BadRequest("The group needs a name.")
    session = access.session()
    if body.id and session.get(Group, body.id):
        raise Conflict(f"There is a group {body.id} already.")
    group = Group(id=body.id or uuid.uuid4(), name=body.name, owner_id=access.user().id)
    session.add(group)
    session.commit()
    return answers.one(serialise(group), 201)


@api.get("/group/<group_id>")
@operation(answers={200: schemas.Group}, errors=(404,))
def get_group(group_id: str) -> flask.Response:
    """Answer with one group."""
    return answers.one(serialise(find(access.uuid_of(group_id, "group id"))))


@api.put("/group/<group_id>")
@operation(body=schemas.GroupIn, answers={200: schemas.Group}, errors=(403, 404))
def update_group(group_id: str, body: schemas.GroupIn) -> flask.Response:
    """Change the group's name."""
    group = find(access.uuid_of(group_id, "group id"))
    if not access.user().is_superadmin and group.owner_id != access.user().id:
        raise Forbidden("Only the group's owner can change it.")
    group.name = body.name or group.name
    access.session().commit()
    return answers.one(serialise(group))


def find(group_id: uuid.UUID) -> Group:
    """Return the group, if the user may see it; else raise NotFound."""
    group = access.session().scalar(sa.select(Group).where(Group.id == group_id, _visible()))
    if group is None:
        raise NotFound(f"There is no group {group_id}.")
    return group


def require(group_id: uuid.UUID) -> None:
    """Raise BadRequest for a group that a body names and the user may not see."""
    try:
        find(group_id)
    except NotFound as error:
        raise BadRequest(error.description) from error


def _visible() -> sa.ColumnElement[bool]:
    user = access.user()
    if user.is_superadmin:
        return sa.true()
    of_projects = sa.select(Project.group_id).where(access.visible(Project.id))
    return sa.or_(Group.owner_id == user.id, Group.id == user.group_id, Group.id.in_(of_projects))
