"""How each of the four applications is put together from its settings. Imports are late: Flower has no Flask."""

from __future__ import annotations

import errno
import gc
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery, bootsteps
from kombu import exceptions

from ibutsu_core import logs, repair
from ibutsu_core.celery_utils import create_broker_celery_app, create_flask_celery_app
from ibutsu_core.settings import Application, Settings, load
from ibutsu_server import __version__

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger(__name__)

# Connections of one process: a worker's child runs one task at a time, and its progress needs none.
_POOL_SIZES = {Application.WORKER: 2, Application.SCHEDULER: 1, Application.BACKEND: 10}

SECRET_SIZE = 64 * 1024
"""Bytes that a file with a secret has at most."""


class TakeUp(bootsteps.StartStopStep):
    """Sends the repair of what was left whenever a worker has connected to the broker, its first time or again.

    Redis keeps the messages of a worker that was killed, and those that a worker forgot when Redis went away, from all
    others for the visibility timeout.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Send it."""
        try:
            repair.send(parent.app)
        except exceptions.OperationalError as error:
            # The worker is about to lose its connection too, and sends it when it has another.
            logger.warning("The repair of what was left could not be sent: %s", error)


def read_settings(application: Application) -> Settings:
    """Read the application's settings from the process's environment and the files that it names."""
    return load(application, os.environ, read_file=read_secret)


def read_secret(path: str) -> str:
    """Return the text of a file with a secret; raise OSError for what is no file or too large."""
    if not Path(path).is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    with Path(path).open("rb") as file:
        data = file.read(SECRET_SIZE + 1)
    if len(data) > SECRET_SIZE:
        raise OSError(errno.EFBIG, f"it is larger than {SECRET_SIZE} bytes")
    return data.decode()


def create_flask(settings: Settings) -> Flask:
    """Make the Flask application that tasks and requests run in, with one session a context."""
    from flask import Flask

    from ibutsu_core.task import EXTENSION, TaskRuntime
    from ibutsu_server.ops.identity import Identity, broker_place
    from ibutsu_server.store.database import create_engine, create_session, is_transient

    if settings.database is None:
        raise ValueError(f"The {settings.application} has no database.")
    app = Flask("ibutsu_server")
    limited = settings.application is Application.BACKEND
    engine = create_engine(
        settings.database,
        application=str(Identity(settings.application, __version__, broker_place(settings.celery.broker_url))),
        pool_size=_POOL_SIZES[settings.application],
        query_time=settings.api_limits.query_time if limited else None,
        lock_time=settings.api_limits.lock_time if limited else None,
    )
    session = create_session(engine)
    app.extensions["ibutsu_settings"] = settings
    app.extensions["ibutsu_engine"] = engine
    app.extensions["ibutsu_session"] = session
    app.extensions[EXTENSION] = TaskRuntime(session=session, is_transient=is_transient)

    @app.teardown_appcontext
    def give_connection_back(_error: BaseException | None) -> None:
        session.remove()

    return app


def flower_app() -> Celery:
    """Make Flower's application: broker only."""
    settings = read_settings(Application.FLOWER)
    _begin(settings)
    # Flower reads its options from the environment; some may have come from a file, others have defaults of ours.
    os.environ.update(settings.flower_options)
    return create_broker_celery_app("ibutsu_flower", settings=settings.celery)


def worker_app() -> Celery:
    """Make the worker's application: all task modules, no schedule."""
    from celery import signals

    from ibutsu_core import shutdown
    from ibutsu_server.ops import own_logs, probes, remote
    from ibutsu_server.tasks import handed_back

    settings = read_settings(Application.WORKER)
    _begin(settings)
    flask_app = create_flask(settings)

    def forget_connections(**_: object) -> None:
        # A forked child must not use, nor close, its parent's connections.
        flask_app.extensions["ibutsu_engine"].dispose(close=False)

    def share_memory(**_: object) -> None:
        # What is loaded stays; a collection in a child would touch it all, and so copy it for each child.
        gc.collect()
        gc.freeze()

    signals.worker_before_create_process.connect(share_memory, weak=False)
    signals.worker_process_init.connect(forget_connections, weak=False)
    app = create_flask_celery_app(flask_app, "ibutsu_worker", settings=settings.celery)
    app.steps["consumer"].add(TakeUp)
    remote.register()
    shutdown.bound(app, settings.shutdown_time, lambda requests: handed_back.note(flask_app, requests))
    own_logs.take_over(app, settings)
    probes.in_worker(app, settings)
    return app


def scheduler_app() -> Celery:
    """Make the scheduler's application: the schedule, no task modules."""
    from ibutsu_core.beat import EXTENSION
    from ibutsu_server.ops import own_logs, probes
    from ibutsu_server.store.ledger import Ledger

    settings = read_settings(Application.SCHEDULER)
    _begin(settings)
    probes.in_scheduler(settings)
    flask_app = create_flask(settings)
    flask_app.extensions[EXTENSION] = Ledger(flask_app.extensions["ibutsu_engine"])
    flask_app.extensions[repair.Mark.EXTENSION] = repair.Mark(settings.celery.broker_url)
    policy = settings.retention
    app = create_flask_celery_app(flask_app, "ibutsu_scheduler", settings=settings.celery, policy=policy)
    own_logs.take_over(app, settings)
    return app


def backend_app() -> Flask:
    """Make the API's WSGI application."""
    from ibutsu_server import api
    from ibutsu_server.ops import probes

    settings = read_settings(Application.BACKEND)
    _begin(settings)
    app = create_flask(settings)
    api.register(app)
    probes.in_api(app, settings)
    return app


def _begin(settings: Settings) -> None:
    """Prepare the process for its application."""
    _hand_to_celery(settings)
    logs.configure(str(settings.application), settings.log_format, settings.celery.loglevel, secrets=settings.secrets())


def _hand_to_celery(settings: Settings) -> None:
    """Give Celery's own reading of the environment the checked values: it prefers its own to the configuration."""
    os.environ["CELERY_BROKER_URL"] = settings.celery.broker_url
    os.environ["CELERY_RESULT_BACKEND"] = settings.celery.result_backend
    # `celery worker` and `celery beat` each read a variable of their own; one sets both.
    os.environ["CELERY_WORKER_LOGLEVEL"] = settings.celery.loglevel
    os.environ.setdefault("CELERY_BEAT_LOGLEVEL", settings.celery.loglevel)
