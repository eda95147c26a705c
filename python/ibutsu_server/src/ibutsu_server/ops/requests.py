"""Each request of the API: what its log lines are about, and its count, by the route and not by the address."""

from __future__ import annotations

import time

import flask

from ibutsu_core import logs
from ibutsu_server.ops import metrics

_REQUESTS = metrics.counter("ibutsu_http_requests_total")
_DURATION = metrics.histogram("ibutsu_http_request_duration_seconds")

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def count(app: flask.Flask) -> None:
    """Count the requests of `app`."""
    app.before_request_funcs.setdefault(None, []).insert(0, _begin)
    app.after_request(_end)


def _begin() -> None:
    logs.clear()
    logs.bind(method=flask.request.method, path=flask.request.path)
    flask.g.ibutsu_begun = time.monotonic()


def _end(response: flask.Response) -> flask.Response:
    rule = flask.request.url_rule
    route = rule.rule if rule else "none"
    method = flask.request.method if flask.request.method in _METHODS else "other"
    _REQUESTS.labels(method, route, str(response.status_code)).inc()
    _DURATION.labels(method, route).observe(time.monotonic() - flask.g.ibutsu_begun)
    return response
