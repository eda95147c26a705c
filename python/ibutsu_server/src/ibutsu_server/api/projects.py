"""Projects: what runs belong to, and who sees them."""

from __future__ import annotations

import uuid

import flask
import sqlalchemy as sa
from werkzeug.exceptions import BadRequest, Forbidden

from ibutsu_core.retention import RetentionError, RetentionPolicy
from ibutsu_core.settings import Settings
from ibutsu_server.api import access, answers, filters, groups, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store import projects
from ibutsu_server.store.models import Project, ProjectMember


def serialise(project: Project) -> schemas.Project:
    """Return the project as the contract has it."""
    return schemas.Project.model_validate(project)


@api.get("/project")
@operation(query=schemas.ProjectQuery, answers={200: schemas.Projects})
def get_projects(query: schemas.ProjectQuery) -> flask.Response:
    """List the projects that the user may see."""
    return page(query)


@api.post("/project")
@operation(body=schemas.ProjectIn, answers={201: schemas.Project})
def add_project(body: schemas.ProjectIn) -> flask.Response:
    """Make a project; who asks becomes its owner and a member, and so do the `users`."""
    return answers.one(serialise(made(body, access.user().id)), 201)


@api.get("/project/<project_id>")
@operation(answers={200: schemas.Project}, errors=(403, 404))
def get_project(project_id: str) -> flask.Response:
    """Answer with one project."""
    return answers.one(serialise(_visible(project_id)))


@api.get("/project/filter-params/<project_id>")
@operation(answers={200: list[str]}, errors=(403, 404))
def get_filter_params(project_id: str) -> flask.Response:
    """List the names that filters of the project's results can use, by its newest result."""
    project = _visible(project_id)
    return flask.jsonify(projects.filter_params(access.session(), project.id))


@api.put("/project/<project_id>")
@operation(body=schemas.ProjectIn, answers={200: schemas.Project}, errors=(403, 404))
def update_project(project_id: str, body: schemas.ProjectIn) -> flask.Response:
    """Change the given fields; `users` adds members by their e-mail addresses, `retention` is the project's policy.

    Whether an address has an account is not told: who has none becomes a member when they get one.
    """
    project = access.find(Project, project_id, "project", lock=True)
    if not access.user().is_superadmin and project.owner_id != access.user().id:
        raise Forbidden("Only the project's owner can change it.")
    change(project, body)
    return answers.one(serialise(project))


def page(query: schemas.ProjectQuery) -> flask.Response:
    """Answer with a page of the projects that the user may see."""
    where = [access.visible(Project.id), *filters.conditions(Project, query.filter)]
    if query.ownerId:
        where.append(Project.owner_id == query.ownerId)
    if query.groupId:
        where.append(Project.group_id == query.groupId)
    return answers.page(
        "projects", Project, serialise, query, where=where, order=[Project.name.asc(), Project.id.asc()]
    )


def made(body: schemas.ProjectIn, owner_id: uuid.UUID) -> Project:
    """Make the project that the body describes; its owner is a member."""
    if body.name is None:
        raise BadRequest("The project needs a name.")
    session = access.session()
    if body.id and session.get(Project, body.id):
        raise BadRequest(f"There is a project {body.id} already.")
    _check(body, None)
    project = Project(id=body.id or uuid.uuid4(), owner_id=owner_id, **body.given("name", "title", "group_id"))
    _keep(project, body)
    session.add(project)
    session.flush()
    session.add(ProjectMember(project_id=project.id, user_id=owner_id))
    projects.add_members(session, project.id, body.users or ())
    session.commit()
    return project


def change(project: Project, body: schemas.ProjectIn) -> None:
    """Change the project's given fields, and add its new members."""
    _check(body, project)
    for name, value in body.given("name", "title", "group_id").items():
        setattr(project, name, value)
    _keep(project, body)
    projects.add_members(access.session(), project.id, body.users or ())
    access.session().commit()


def _keep(project: Project, body: schemas.ProjectIn) -> None:
    """Give the project the retention policy of the body, whole and checked as a whole."""
    if body.retention is None:
        return
    months = body.retention.model_dump(exclude_none=True)
    settings: Settings = flask.current_app.extensions["ibutsu_settings"]
    try:
        project.retention = RetentionPolicy.of(months, settings.retention).as_dict() if months else None
    except RetentionError as error:
        raise BadRequest(str(error)) from error


def _visible(project_id: str) -> Project:
    project = access.find(Project, project_id, "project")
    access.require_project(project.id)
    return project


def _check(body: schemas.ProjectIn, project: Project | None) -> None:
    renamed = body.name is not None and (project is None or body.name != project.name)
    if renamed and access.session().scalar(sa.select(Project.id).where(Project.name == body.name)):
        raise BadRequest(f"There is a project {body.name!r} already.")
    if body.group_id and (project is None or body.group_id != project.group_id):
        groups.require(body.group_id)
