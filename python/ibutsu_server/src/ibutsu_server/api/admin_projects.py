"""Projects, for administrators."""

from __future__ import annotations

import flask
from werkzeug.exceptions import BadRequest

from ibutsu_server.api import access, answers, projects, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store import projects as store
from ibutsu_server.store.models import Project, User


@api.get("/admin/project")
@operation(query=schemas.ProjectQuery, answers={200: schemas.Projects}, errors=(403,))
def admin_get_projects(query: schemas.ProjectQuery) -> flask.Response:
    """List all projects."""
    access.require_superadmin()
    return projects.page(query)


@api.post("/admin/project")
@operation(body=schemas.AdminProjectIn, answers={201: schemas.Project}, errors=(403,))
def admin_add_project(body: schemas.AdminProjectIn) -> flask.Response:
    """Make a project, of the given owner or of who asks."""
    access.require_superadmin()
    _check_owner(body)
    project = projects.made(body, body.owner_id or access.user().id)
    return answers.one(projects.serialise(project), 201)


@api.get("/admin/project/<project_id>")
@operation(answers={200: schemas.Project}, errors=(403, 404))
def admin_get_project(project_id: str) -> flask.Response:
    """Answer with one project."""
    return answers.one(projects.serialise(_find(project_id)))


@api.put("/admin/project/<project_id>")
@operation(body=schemas.AdminProjectIn, answers={200: schemas.Project}, errors=(403, 404))
def admin_update_project(project_id: str, body: schemas.AdminProjectIn) -> flask.Response:
    """Change the given fields, the owner too; `users` adds members by their e-mail addresses."""
    project = _find(project_id)
    _check_owner(body)
    if body.owner_id is not None:
        project.owner_id = body.owner_id
    projects.change(project, body)
    return answers.one(projects.serialise(project))


@api.delete("/admin/project/<project_id>")
@operation(answers={200: schemas.Message}, errors=(403, 404))
def admin_delete_project(project_id: str) -> flask.Response:
    """Delete the project with its runs and all that belongs to them, the results first.

    Where an import into it is under way that is waited for, though not for long; to ask again goes on from there.
    """
    store.delete(access.session(), _find(project_id).id)
    return answers.message("The project is deleted.")


def _find(project_id: str) -> Project:
    access.require_superadmin()
    return access.find(Project, project_id, "project")


def _check_owner(body: schemas.AdminProjectIn) -> None:
    if body.owner_id is not None and access.session().get(User, body.owner_id) is None:
        raise BadRequest(f"There is no user {body.owner_id}.")
