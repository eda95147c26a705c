"""What is measured, as data: docs/metrics.md is held to it, and `metrics` makes it of it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ibutsu_core.settings import Application

Kind = Literal["counter", "histogram", "gauge"]

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Buckets for what takes from an instant to hours."""

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets for what somebody waits for."""

WORKER, SCHEDULER, BACKEND = Application.WORKER, Application.SCHEDULER, Application.BACKEND


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric. `applications` show it; a `gauge` is read when it is asked for, all others are counted up."""

    name: str
    kind: Kind
    meaning: str
    applications: tuple[Application, ...]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


MEASURES = (
    Measure(
        name="ibutsu_build_info",
        kind="gauge",
        labels=("component", "version", "celery", "python"),
        applications=(WORKER, SCHEDULER, BACKEND),
        meaning="always 1; the labels say what runs",
    ),
    Measure(
        name="ibutsu_tasks_total",
        kind="counter",
        labels=("task", "outcome"),
        applications=(WORKER,),
        meaning="attempts at tasks that ended: `success`, `failure`, `retry`, `lost` (their process was killed), "
        "`time_limit`, `revoked`, `rejected`, `ignored`; and messages that were no task: `unknown`, `malformed`",
    ),
    Measure(
        name="ibutsu_task_duration_seconds",
        kind="histogram",
        labels=("task", "outcome"),
        applications=(WORKER,),
        meaning="how long these attempts took; those whose process was killed are not among them",
        buckets=SECONDS,
    ),
    Measure(
        name="ibutsu_task_wait_seconds",
        kind="histogram",
        labels=("task",),
        applications=(WORKER,),
        meaning="from a message's sending to its task's beginning, without messages that have a time of their own",
        buckets=SECONDS,
    ),
    Measure(
        name="ibutsu_imports_total",
        kind="counter",
        labels=("format", "outcome"),
        applications=(WORKER,),
        meaning="imports that ended, `done` or `error`, by the format of the upload: `junit`, `archive`, `unknown`",
    ),
    Measure(
        name="ibutsu_imported_results_total",
        kind="counter",
        labels=("format",),
        applications=(WORKER,),
        meaning="results that imports stored; its rate is results per second",
    ),
    Measure(
        name="ibutsu_imported_artifacts_total",
        kind="counter",
        labels=("format",),
        applications=(WORKER,),
        meaning="artifacts that imports stored",
    ),
    Measure(
        name="ibutsu_imported_bytes_total",
        kind="counter",
        labels=("format",),
        applications=(WORKER,),
        meaning="bytes of the uploads that were imported, as they were sent",
    ),
    Measure(
        name="ibutsu_pruned_rows_total",
        kind="counter",
        labels=("table",),
        applications=(WORKER,),
        meaning="rows that retention deleted: `runs`, `results`, `artifacts`, `uploads`, `imports`",
    ),
    Measure(
        name="ibutsu_pruned_bytes_total",
        kind="counter",
        applications=(WORKER,),
        meaning="bytes of content that retention deleted",
    ),
    Measure(
        name="ibutsu_broker_up",
        kind="gauge",
        applications=(SCHEDULER,),
        meaning="1 where Redis answers, else 0, and then what is read from it is missing",
    ),
    Measure(
        name="ibutsu_queue_length",
        kind="gauge",
        labels=("queue",),
        applications=(SCHEDULER,),
        meaning="messages that wait for a worker",
    ),
    Measure(
        name="ibutsu_queue_oldest_age_seconds",
        kind="gauge",
        labels=("queue",),
        applications=(SCHEDULER,),
        meaning="how long the oldest of them has waited; 0 where none waits",
    ),
    Measure(
        name="ibutsu_queue_unacknowledged",
        kind="gauge",
        applications=(SCHEDULER,),
        meaning="messages that workers have in hand: they run, or wait for their time",
    ),
    Measure(
        name="ibutsu_broker_memory_bytes",
        kind="gauge",
        applications=(SCHEDULER,),
        meaning="memory that Redis uses for its data",
    ),
    Measure(
        name="ibutsu_broker_keys",
        kind="gauge",
        applications=(SCHEDULER,),
        meaning="keys in Redis's database, most of them results of tasks",
    ),
    Measure(
        name="ibutsu_database_up",
        kind="gauge",
        applications=(SCHEDULER,),
        meaning="1 where PostgreSQL answers, else 0, and then what is read from it is missing",
    ),
    Measure(
        name="ibutsu_schema_version",
        kind="gauge",
        applications=(SCHEDULER,),
        meaning="the revision of the database's schema",
    ),
    Measure(
        name="ibutsu_schema_expected_version",
        kind="gauge",
        applications=(SCHEDULER,),
        meaning="the revision that this version needs at least",
    ),
    Measure(
        name="ibutsu_imports_unfinished",
        kind="gauge",
        labels=("status",),
        applications=(SCHEDULER,),
        meaning="imports that are `pending` or `running`, by the database",
    ),
    Measure(
        name="ibutsu_periodic_last_success_timestamp_seconds",
        kind="gauge",
        labels=("entry",),
        applications=(SCHEDULER,),
        meaning="when a slot of the periodic entry was last done; missing until one was",
    ),
    Measure(
        name="ibutsu_periodic_interval_seconds",
        kind="gauge",
        labels=("entry",),
        applications=(SCHEDULER,),
        meaning="seconds between the next two slots of the entry",
    ),
    Measure(
        name="ibutsu_http_requests_total",
        kind="counter",
        labels=("method", "route", "status"),
        applications=(BACKEND,),
        meaning="requests that were answered; `none` is the route of an address that does not exist",
    ),
    Measure(
        name="ibutsu_http_request_duration_seconds",
        kind="histogram",
        labels=("method", "route"),
        applications=(BACKEND,),
        meaning="how long the answers took, without the sending of long ones",
        buckets=REQUEST_SECONDS,
    ),
)


def of(application: Application) -> tuple[Measure, ...]:
    """Return what the application shows."""
    return tuple(measure for measure in MEASURES if application in measure.applications)
