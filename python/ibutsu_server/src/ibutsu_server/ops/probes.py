"""Where the health of each process is answered: by a server of its own, and the API's on the API's port too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals

from ibutsu_core.celery_utils import QUEUE
from ibutsu_core.heart import HEART
from ibutsu_core.settings import Settings
from ibutsu_server.ops import health, multiprocess
from ibutsu_server.ops.health import Answer
from ibutsu_server.ops.server import HealthServer, Routes

if TYPE_CHECKING:
    import flask
    from celery import Celery

logger = logging.getLogger(__name__)

ROUTES = "ibutsu_health"
"""The extension of Flask under which the API keeps what it answers."""

BEAT_EVERY = 1.0
"""Seconds between two beats of a worker's main loop."""


def in_worker(celery: Celery, settings: Settings) -> None:
    """Serve the worker's health from its main process, once it has forked its children."""
    routes = _routes(settings)

    def count(**_: Any) -> None:
        multiprocess.prepare()
        from ibutsu_server.ops import counting, metrics

        counting.begin(celery)
        routes["/metrics"] = lambda: metrics.text(settings.application)

    signals.worker_init.connect(count, weak=False)

    class Health(bootsteps.StartStopStep):
        """The health server, and the beats of the main loop."""

        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Any) -> None:
            """Serve."""
            serve(settings, routes)

        def register_with_event_loop(self, parent: Any, hub: Any) -> None:
            """Beat with each connection's loop; Celery drops the timer together with the connection."""
            hub.call_repeatedly(BEAT_EVERY, HEART.beat)

        def close(self, parent: Any) -> None:
            """Begin the end. The server goes on until the last task is done, and goes with the process."""
            HEART.ends = True

        def stop(self, parent: Any) -> None:
            """Do nothing more."""

        terminate = close

    celery.steps["worker"].add(Health)


def in_scheduler(settings: Settings) -> None:
    """Serve the scheduler's health once its loop is about to start."""
    routes = _routes(settings)

    def start(**_: Any) -> None:
        from ibutsu_server.ops import metrics, reading

        if settings.database is None:
            raise ValueError("The scheduler has no database.")
        collectors = (reading.Broker(settings.celery.broker_url, QUEUE), reading.Database(settings.database))
        routes["/metrics"] = lambda: metrics.text(settings.application, *collectors)
        serve(settings, routes)

    signals.beat_init.connect(start, weak=False)


def in_api(app: flask.Flask, settings: Settings) -> None:
    """Answer the same paths beside the API, which counts as ready without the broker: it keeps what it cannot send."""
    import flask

    from ibutsu_server.ops import metrics, requests

    checks = health.checks_of(settings)
    optional = frozenset(checks) - {"database"}
    routes = {
        "/healthz": lambda: Answer(200, b'{"alive": true, "message": "The server answers."}\n'),
        "/readyz": lambda: health.ready(checks, optional=optional),
        "/metrics": lambda: metrics.text(settings.application),
    }
    requests.count(app)

    app.extensions[ROUTES] = routes
    for path, answer in routes.items():

        def view(answer: Any = answer) -> flask.Response:
            found: Answer = answer()
            response = flask.Response(found.body, found.status, content_type=found.content_type)
            response.headers["Cache-Control"] = "no-store"
            return response

        app.add_url_rule(path, endpoint=path.strip("/"), view_func=view)


def in_gunicorn(app: flask.Flask) -> None:
    """Serve the API's health from a worker of gunicorn, whose threads may all wait for the database.

    Each of gunicorn's workers listens at the same address, and the kernel gives each probe to one of them.
    """
    serve(app.extensions["ibutsu_settings"], app.extensions[ROUTES], shared=True)


def _routes(settings: Settings) -> dict[str, Callable[[], Answer]]:
    checks = health.checks_of(settings)
    return {"/healthz": lambda: health.alive(HEART, checks["broker"]), "/readyz": lambda: health.ready(checks, HEART)}


def serve(settings: Settings, routes: Routes, *, shared: bool = False) -> None:
    """Serve at the address that the settings give, if they do; end the process where that cannot be had."""
    if settings.health_address is None:
        return
    host, port = settings.health_address
    try:
        server = HealthServer(settings.health_address, routes, shared=shared)
    except OSError as error:
        raise SystemExit(f"IBUTSU_HEALTH_ADDRESS={host}:{port} cannot be listened at: {error.strerror}.") from error
    server.start()
    logger.info("Health is answered at port %d: %s.", server.server_port, ", ".join(routes))
