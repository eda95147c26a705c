"""The HTTP contract, a module a resource. `register` adds it to a Flask application under `/api`."""

from __future__ import annotations

import importlib

import flask

from ibutsu_server.api import access, broker, errors, openapi, run_page, run_task
from ibutsu_server.api.blueprint import api

_RESOURCES = (
    "admin_maintenance", "admin_projects", "admin_users", "artifacts", "dashboards", "groups", "health", "imports",
    "login", "projects", "results", "runs", "tasks", "users", "widget_configs", "widgets",
)  # fmt: skip


def register(app: flask.Flask) -> None:
    """Add the API to `app`, which has `ibutsu_session` and `ibutsu_settings` among its extensions."""
    for resource in _RESOURCES:
        importlib.import_module(f"{__name__}.{resource}")
    # A redirect on a POST loses the request.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.extensions[broker.EXTENSION] = broker.Broker(app.extensions["ibutsu_settings"].celery)
    app.before_request(access.authenticate)
    errors.register(app)
    app.register_blueprint(api, url_prefix="/api")
    run_task.register(app)
    run_page.register(app)
    openapi.register(app)
