"""The Celery applications: broker-only for Flower, with Flask's context for the worker and the scheduler."""

from __future__ import annotations

import datetime as dt
import logging
import os
import ssl
from collections.abc import Mapping
from typing import Any, NoReturn

from celery import Celery, signals

from ibutsu_core import queues, schedule
from ibutsu_core.retention import RetentionPolicy
from ibutsu_core.settings import LONGEST_TASK, VISIBILITY_TIMEOUT, Application, CelerySettings, load
from ibutsu_core.task import FlaskApplication, IbutsuTask

logger = logging.getLogger(__name__)

TASK_MODULES = (
    "ibutsu_server.tasks.db",
    "ibutsu_server.tasks.importers",
    "ibutsu_server.tasks.query",
    "ibutsu_server.tasks.results",
    "ibutsu_server.tasks.runs",
)

QUEUE = "ibutsu"
"""The queue of all tasks."""

# One set for all applications: the shortest visibility timeout on a broker is the one that holds.
TRANSPORT_OPTIONS: Mapping[str, Any] = {
    "visibility_timeout": VISIBILITY_TIMEOUT,
    "socket_timeout": 30,
    "socket_connect_timeout": 10,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "retry_on_timeout": True,
}


class MonitoringCelery(Celery):
    """An application that no worker may run with: it knows no task, and would discard every message."""

    def Worker(self, **_options: Any) -> NoReturn:  # type: ignore[override]  # noqa: N802 - Celery's name
        """Refuse, where `celery worker` would make its worker."""
        raise SystemExit(f"{self.main} executes no tasks; start workers with --app ibutsu_server:worker_app.")


def create_broker_celery_app(name: str = "ibutsu_flower", *, settings: CelerySettings | None = None) -> Celery:
    """Make the application for monitoring: broker only, with no task modules, no schedule and no Flask.

    Without `settings` they are read from the environment; raises SettingsError.
    """
    settings = settings or load(Application.FLOWER, os.environ).celery
    app = MonitoringCelery(name, set_as_current=False)
    queues.note_when_queued()
    app.conf.update(_configuration(settings))
    return app


def create_flask_celery_app(
    app: FlaskApplication,
    name: str = "ibutsu_worker",
    *,
    settings: CelerySettings | None = None,
    policy: RetentionPolicy | None = None,
) -> Celery:
    """Make an application whose tasks run inside `app`'s context.

    Without `policy` it is a worker's: the five task modules and no schedule. With it, it is the scheduler's: the
    schedule and no task modules, since the scheduler only sends. Without `settings` they are read from the
    environment; raises SettingsError.
    """
    role = Application.WORKER if policy is None else Application.SCHEDULER
    settings = settings or load(role, os.environ).celery
    kind: type[Celery] = Celery if policy is None else MonitoringCelery
    celery = kind(name, task_cls=IbutsuTask, set_as_current=policy is None)
    queues.note_when_queued()
    celery.conf.update(_configuration(settings))
    celery.flask_app = app  # type: ignore[attr-defined]
    if policy is None:
        celery.conf.update(imports=TASK_MODULES, worker_consumer="ibutsu_core.consumer:SteadyConsumer")
    else:
        celery.conf.update(
            beat_schedule=schedule.beat_schedule(policy),
            beat_scheduler="ibutsu_core.beat:StatelessScheduler",
        )
        _log_schedule_at_start(schedule.beat_entries(policy))
    return celery


def _configuration(settings: CelerySettings) -> dict[str, Any]:
    time_limit = settings.task_time_limit or LONGEST_TASK
    return {
        "broker_url": settings.broker_url,
        "result_backend": settings.result_backend,
        "broker_transport_options": dict(TRANSPORT_OPTIONS),
        **_encryption("broker_use_ssl", settings.broker_url),
        **_encryption("redis_backend_use_ssl", settings.result_backend),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Redis is full, or cannot write to its disk: that passes too.
        "broker_channel_error_retry": True,
        "broker_pool_limit": 10,
        "redis_socket_timeout": TRANSPORT_OPTIONS["socket_timeout"],
        "redis_socket_connect_timeout": TRANSPORT_OPTIONS["socket_connect_timeout"],
        "redis_socket_keepalive": True,
        "redis_retry_on_timeout": True,
        "redis_backend_health_check_interval": TRANSPORT_OPTIONS["health_check_interval"],
        "result_backend_always_retry": True,
        "result_backend_max_retries": 10,
        "result_expires": settings.result_expires,
        "result_extended": True,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "timezone": "UTC",
        "enable_utc": True,
        "task_default_queue": QUEUE,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "task_send_sent_event": True,
        # Redelivery after the visibility timeout must never meet a task that still runs.
        "task_time_limit": time_limit,
        # A little earlier the task is told, so that it can say what happened.
        "task_soft_time_limit": time_limit - min(60, time_limit / 10),
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": settings.worker_concurrency,
        "worker_send_task_events": True,
        # A running import goes on when the broker is away: its commit stands, and a redelivery finds it done.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }


def _encryption(option: str, url: str) -> dict[str, Any]:
    # Of a rediss:// URL alone kombu would accept any certificate, and Celery's result backend would refuse to start.
    return {option: {"ssl_cert_reqs": ssl.CERT_REQUIRED}} if url.startswith("rediss://") else {}


def _log_schedule_at_start(entries: tuple[schedule.Entry, ...]) -> None:
    def log_schedule(**_: Any) -> None:
        now = dt.datetime.now(dt.UTC)
        for entry in entries:
            logger.info(
                "beat_schedule: %s runs %s%s %s, next at %s",
                entry.name,
                entry.task,
                f"({', '.join(map(repr, entry.args))})",
                schedule.describe(entry.schedule),
                schedule.next_due(entry.schedule, now).isoformat(),
            )

    signals.beat_init.connect(log_schedule, weak=False)
