"""What a worker counts: Celery tells of a task in the child that ran it, and of what befell that in the main process.

What an import or a prune did is taken from its result.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task, signals, states

from ibutsu_core import logs, queues
from ibutsu_core.request import process_lost
from ibutsu_server.ops import metrics

IMPORT = "ibutsu_server.tasks.importers.import_results"

FORMATS = ("junit", "archive", "unknown")
"""The formats that the label `format` names: what an upload was read as, or else what its name promised."""

_PRUNED = ("runs", "results", "artifacts", "uploads", "imports")

_TASKS = metrics.counter("ibutsu_tasks_total")
_DURATION = metrics.histogram("ibutsu_task_duration_seconds")
_WAIT = metrics.histogram("ibutsu_task_wait_seconds")
_IMPORTS = metrics.counter("ibutsu_imports_total")
_RESULTS = metrics.counter("ibutsu_imported_results_total")
_ARTIFACTS = metrics.counter("ibutsu_imported_artifacts_total")
_BYTES = metrics.counter("ibutsu_imported_bytes_total")
_PRUNED_ROWS = metrics.counter("ibutsu_pruned_rows_total")
_PRUNED_BYTES = metrics.counter("ibutsu_pruned_bytes_total")


def begin(celery: Celery) -> None:
    """Count from now on, beginning with 0 for what is to be expected, so that a first failure is a change."""
    for task in celery.tasks:
        if not task.startswith("celery."):
            for outcome in ("success", "failure", "retry", "lost"):
                _TASKS.labels(task, outcome)
    for known in FORMATS:
        for outcome in ("done", "error"):
            _IMPORTS.labels(known, outcome)
        for each in (_RESULTS, _ARTIFACTS, _BYTES):
            each.labels(known)
    for table in _PRUNED:
        _PRUNED_ROWS.labels(table)
    signals.task_prerun.connect(_begun)
    signals.task_postrun.connect(_ended)
    process_lost.connect(_lost)
    signals.task_failure.connect(_killed)
    signals.task_revoked.connect(_revoked)
    signals.task_unknown.connect(_unknown)
    signals.task_rejected.connect(_malformed)


def _begun(task: Task[Any, Any], **_: Any) -> None:
    request: Any = task.request
    request.ibutsu_begun = time.monotonic()
    sent = queues.sent_at(request.headers or {})
    if sent is not None and not request.eta:
        # The clocks of two machines differ.
        _WAIT.labels(task.name).observe(max(0.0, (dt.datetime.now(dt.UTC) - sent).total_seconds()))


def _ended(task: Task[Any, Any], state: str, retval: Any, **_: Any) -> None:
    name, outcome = str(task.name), str(state).lower()
    _TASKS.labels(name, outcome).inc()
    begun = getattr(task.request, "ibutsu_begun", None)
    if begun is not None:
        _DURATION.labels(name, outcome).observe(time.monotonic() - begun)
    if name == IMPORT:
        _count_import(state, retval)
    elif state == states.SUCCESS and isinstance(retval, Mapping) and ".db.prune_" in name:
        for table in _PRUNED:
            _PRUNED_ROWS.labels(table).inc(retval.get(table, 0))
        _PRUNED_BYTES.inc(retval.get("bytes", 0))


def _count_import(state: str, retval: Any) -> None:
    if state == states.FAILURE:
        _IMPORTS.labels(_known(logs.bound().get("format")), "error").inc()
    elif state == states.SUCCESS and retval.get("imported"):
        known = _known(retval["format"])
        _IMPORTS.labels(known, "done").inc()
        _RESULTS.labels(known).inc(retval["results"])
        _ARTIFACTS.labels(known).inc(retval["artifacts"])
        _BYTES.labels(known).inc(retval["bytes"])


def _known(found: str | None) -> str:
    return found if found in FORMATS else "unknown"


def _lost(sender: Task[Any, Any], **_: Any) -> None:
    _TASKS.labels(str(sender.name), "lost").inc()


def _killed(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    # In a child the failure is counted as the task's end.
    if type(exception).__name__ == "TimeLimitExceeded":
        _TASKS.labels(str(sender.name), "time_limit").inc()


def _revoked(sender: Task[Any, Any], **_: Any) -> None:
    _TASKS.labels(str(sender.name), "revoked").inc()


def _unknown(**_: Any) -> None:
    _TASKS.labels("unknown", "unknown").inc()


def _malformed(**_: Any) -> None:
    _TASKS.labels("unknown", "malformed").inc()
