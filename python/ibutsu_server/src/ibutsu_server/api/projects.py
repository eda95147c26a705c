"""Projects: what runs belong to, and who sees them."""

from __future__ import annotations

import uuid

import flask
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from werkzeug.exceptions import BadRequest, Forbidden

from ibutsu_server.api import access, answers, bodies, filters, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.store.models import Group, Project, ProjectMember, User


def serialise(project: Project) -> schemas.Project:
    """Return the project as the contract has it."""
    return schemas.Project.model_validate(project)


@api.get("/project")
def get_projects() -> flask.Response:
    """List the projects that the user may see."""
    where = [access.visible(Project.id)]
    for text in flask.request.args.getlist("filter"):
        one = filters.parse(text)
        if one.operator != "=" or one.field not in ("id", "name", "title"):
            raise BadRequest(f"Projects can be filtered by id=, name= and title=, not by {text[:200]!r}.")
        column = getattr(Project, one.field)
        where.append(column == (access.uuid_of(one.value) if one.field == "id" else one.value))
    for argument, owner in (("ownerId", Project.owner_id), ("groupId", Project.group_id)):
        if argument in flask.request.args:
            where.append(owner == access.uuid_of(flask.request.args[argument], argument))
    return answers.page("projects", Project, serialise, where=where, order=[Project.name.asc(), Project.id.asc()])


@api.post("/project")
def add_project() -> flask.Response:
    """Make a project; who asks becomes its owner and a member."""
    body = bodies.read(schemas.ProjectIn)
    if body.name is None:
        raise BadRequest("The project needs a name.")
    session = access.session()
    _check_free(body)
    project = Project(id=body.id or uuid.uuid4(), owner_id=access.user().id, **body.given("name", "title", "group_id"))
    session.add(project)
    session.flush()
    session.add(ProjectMember(project_id=project.id, user_id=access.user().id))
    session.commit()
    return answers.one(serialise(project), 201)


@api.get("/project/<project_id>")
def get_project(project_id: str) -> flask.Response:
    """Answer with one project."""
    project = access.find(Project, project_id, "project")
    access.require_project(project.id)
    return answers.one(serialise(project))


@api.put("/project/<project_id>")
def update_project(project_id: str) -> flask.Response:
    """Change the given fields; `users` adds members by their e-mail addresses."""
    project = access.find(Project, project_id, "project", lock=True)
    if not access.user().is_superadmin and project.owner_id != access.user().id:
        raise Forbidden("Only the project's owner can change it.")
    body = bodies.read(schemas.ProjectIn)
    body.id = None
    _check_free(body, project)
    for name, value in body.given("name", "title", "group_id").items():
        setattr(project, name, value)
    session = access.session()
    for email in body.users or ():
        user_id = session.scalar(sa.select(User.id).where(User.email == email.lower()))
        if user_id is None:
            raise BadRequest(f"There is no user {email[:200]!r}.")
        member = insert(ProjectMember).values(project_id=project.id, user_id=user_id)
        session.execute(member.on_conflict_do_nothing())
    session.commit()
    return answers.one(serialise(project))


def _check_free(body: schemas.ProjectIn, project: Project | None = None) -> None:
    session = access.session()
    if body.id and session.get(Project, body.id):
        raise BadRequest(f"There is a project {body.id} already.")
    renamed = body.name is not None and (project is None or body.name != project.name)
    if renamed and session.scalar(sa.select(Project.id).where(Project.name == body.name)):
        raise BadRequest(f"There is a project {body.name!r} already.")
    if body.group_id and not session.get(Group, body.group_id):
        raise BadRequest(f"There is no group {body.group_id}.")
