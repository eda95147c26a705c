"""The three Celery applications: what each has, and what none may have."""

from __future__ import annotations

import subprocess
import sys

import pytest
from celery import Celery
from flask import Flask

from ibutsu_core import schedule
from ibutsu_core.celery_utils import TASK_MODULES, create_broker_celery_app, create_flask_celery_app
from ibutsu_core.retention import RetentionPolicy
from ibutsu_core.settings import LONGEST_TASK, VISIBILITY_TIMEOUT, CelerySettings
from ibutsu_core.task import IbutsuTask

SETTINGS = CelerySettings(broker_url="redis://:secret@127.0.0.1:1/0", result_backend="redis://:secret@127.0.0.1:1/0")


def applications() -> dict[str, Celery]:
    """Make one of each."""
    return {
        "flower": create_broker_celery_app("flower", settings=SETTINGS),
        "worker": create_flask_celery_app(Flask("worker"), "worker", settings=SETTINGS),
        "scheduler": create_flask_celery_app(Flask("s"), "scheduler", settings=SETTINGS, policy=RetentionPolicy()),
    }


@pytest.mark.parametrize("name", ["flower", "worker", "scheduler"])
def test_all_applications_agree_on_how_they_use_the_broker(name: str) -> None:
    conf = applications()[name].conf
    options = conf.broker_transport_options
    assert options["visibility_timeout"] == VISIBILITY_TIMEOUT > conf.task_time_limit
    assert options["socket_timeout"] > options["health_check_interval"] > 0
    assert options["socket_keepalive"] is True
    assert options["retry_on_timeout"] is True
    assert conf.broker_connection_retry_on_startup is True
    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True
    assert conf.worker_prefetch_multiplier == 1
    assert conf.accept_content == ["json"]
    assert (conf.task_serializer, conf.result_serializer) == ("json", "json")
    assert conf.timezone == "UTC"
    assert conf.enable_utc is True
    assert conf.task_track_started is True
    assert conf.worker_send_task_events is True
    assert conf.result_expires == 86400


def test_the_flower_app_is_broker_only() -> None:
    app = applications()["flower"]
    assert not app.conf.imports
    assert not app.conf.beat_schedule
    assert app.Task is not IbutsuTask


def test_the_worker_loads_the_five_task_modules_and_has_no_schedule() -> None:
    conf = applications()["worker"].conf
    assert conf.imports == TASK_MODULES
    assert [module.rpartition(".")[2] for module in TASK_MODULES] == ["db", "importers", "query", "results", "runs"]
    assert not conf.beat_schedule


def test_the_scheduler_has_the_specifications_schedule_and_no_tasks() -> None:
    conf = applications()["scheduler"].conf
    assert conf.beat_schedule == schedule.beat_schedule(RetentionPolicy())
    assert set(conf.beat_schedule) == {
        "prune-old-artifact-files", "prune-old-results", "prune-old-runs", "sync-aborted-runs",
    }  # fmt: skip
    assert not conf.imports


@pytest.mark.parametrize("name", ["flower", "scheduler"])
def test_no_worker_runs_with_an_application_that_knows_no_task(name: str) -> None:
    with pytest.raises(SystemExit, match="executes no tasks"):
        applications()[name].Worker()


def test_a_time_limit_is_taken_and_otherwise_the_longest_task_holds() -> None:
    assert applications()["worker"].conf.task_time_limit == LONGEST_TASK
    limited = CelerySettings(broker_url="redis://h", result_backend="redis://h", task_time_limit=60)
    assert create_broker_celery_app(settings=limited).conf.task_time_limit == 60


def test_the_core_needs_no_flask_no_sqlalchemy_no_psycopg2_and_opens_nothing() -> None:
    # An audit hook sees every socket and every file that is opened after the imports of the core.
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flask", "sqlalchemy", "psycopg2", "ibutsu_server"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import ibutsu_core.beat, ibutsu_core.celery_utils, ibutsu_core.retention, ibutsu_core.schedule, ibutsu_core.task
from ibutsu_core.settings import Application, CelerySettings, load
opened = []
def hook(event, arguments):
    if event.startswith("socket.") or event == "open" and not str(arguments[0]).endswith((".py", ".pyc")):
        opened.append((event, arguments))
sys.addaudithook(hook)
environ = {"CELERY_BROKER_URL": "redis://h", "CELERY_RESULT_BACKEND": "redis://h", "FLOWER_BASIC_AUTH": "a:b"}
settings = load(Application.FLOWER, environ)
app = ibutsu_core.celery_utils.create_broker_celery_app(settings=settings.celery)
app.conf.beat_schedule
ibutsu_core.schedule.beat_schedule()
ibutsu_core.retention.RetentionPolicy().cutoffs()
assert not opened, opened
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
