"""The HTTP contract, a module a resource. `register` adds it to a Flask application under `/api`."""

from __future__ import annotations

import importlib

import flask
from werkzeug.middleware.proxy_fix import ProxyFix

from ibutsu_core.settings import Settings
from ibutsu_server.api import access, attempts, broker, errors, openapi, run_page, run_task
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
    settings: Settings = app.extensions["ibutsu_settings"]
    app.extensions[broker.EXTENSION] = broker.Broker(settings.celery)
    app.extensions[attempts.EXTENSION] = attempts.Attempts(settings.celery.result_backend, settings.login_limits)
    if settings.trusted_proxies:
        proxied = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    app.before_request(access.authenticate)
    errors.register(app)
    app.register_blueprint(api, url_prefix="/api")
    run_task.register(app)
    run_page.register(app)
    openapi.register(app)
