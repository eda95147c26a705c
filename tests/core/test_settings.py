"""Each application's environment is checked as a whole, and no secret is ever shown."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import parse_url

from ibutsu_core.limits import ApiLimits, Limits, LoginLimits, variable_of
from ibutsu_core.retention import RetentionPolicy
from ibutsu_core.settings import (
    LONGEST_TASK,
    VARIABLES,
    VISIBILITY_TIMEOUT,
    Application,
    Settings,
    SettingsError,
    load,
    load_retention,
    variables,
)
from ibutsu_server.store.database import database_url

COMPLETE = {
    "CELERY_BROKER_URL": "redis://:hunter2@redis.svc:6379/0",
    "CELERY_RESULT_BACKEND": "redis://:hunter2@redis.svc:6379/0",
    "POSTGRESQL_HOST": "postgresql.svc",
    "POSTGRESQL_PORT": "5432",
    "POSTGRESQL_USER": "ibutsu",
    "POSTGRESQL_PASSWORD": "hunter3",
    "POSTGRESQL_DATABASE": "ibutsu",
    "FLOWER_BASIC_AUTH": "admin:hunter4",
}
SECRETS = ("hunter2", "hunter3", "hunter4")

# What an environment variable can hold: no NUL, nothing that UTF-8 cannot encode.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)


def problems(application: Application, environ: dict[str, str]) -> tuple[str, ...]:
    """Load what cannot be loaded, and return what is wrong."""
    with pytest.raises(SettingsError) as caught:
        load(application, environ)
    return caught.value.problems


def test_the_specifications_defaults_hold() -> None:
    settings = load(Application.WORKER, {**COMPLETE, "POSTGRESQL_PORT": ""})
    assert settings.celery.worker_concurrency == 1
    assert settings.celery.result_expires == 86400
    assert settings.celery.task_time_limit is None
    assert settings.celery.loglevel == "info"
    assert settings.database is not None
    assert settings.database.port == 5432


def test_the_optional_variables_are_read() -> None:
    settings = load(
        Application.WORKER,
        {
            **COMPLETE,
            "CELERY_WORKER_CONCURRENCY": "4",
            "CELERY_RESULT_EXPIRES": "60",
            "CELERY_TASK_TIME_LIMIT": "3600",
            "CELERY_WORKER_LOGLEVEL": "DEBUG",
        },
    )
    celery = settings.celery
    assert (celery.worker_concurrency, celery.result_expires, celery.task_time_limit) == (4, 60, 3600)
    assert celery.loglevel == "debug"


@pytest.mark.parametrize("application", Application)
def test_everything_that_is_missing_is_named_at_once(application: Application) -> None:
    required = [variable.name for variable in variables(application) if variable.required]
    found = problems(application, {})
    assert len(found) == len(required) > 0
    for name, problem in zip(required, found, strict=True):
        assert problem.startswith(name)


def test_flower_is_locked_unless_told_otherwise_and_has_bounds() -> None:
    locked = {name: value for name, value in COMPLETE.items() if name != "FLOWER_BASIC_AUTH"}
    (problem,) = problems(Application.FLOWER, {**locked, "IBUTSU_FLOWER_UNLOCKED": "false"})
    assert problem.startswith("FLOWER_BASIC_AUTH (or FLOWER_BASIC_AUTH_FILE) is not set")
    assert "IBUTSU_FLOWER_UNLOCKED" in problem
    assert load(Application.FLOWER, {**locked, "IBUTSU_FLOWER_UNLOCKED": "true"}).flower_options == {
        "FLOWER_PORT": "5555",
        "FLOWER_READ_ONLY": "True",
        "FLOWER_MAX_TASKS": "10000",
        "FLOWER_MAX_WORKERS": "500",
        "FLOWER_PURGE_OFFLINE_WORKERS": "86400",
    }
    given = {**COMPLETE, "FLOWER_READ_ONLY": "False", "FLOWER_MAX_TASKS": "5"}
    assert load(Application.FLOWER, given).flower_options["FLOWER_READ_ONLY"] == "False"
    assert load(Application.WORKER, given).flower_options == {}


def test_flower_needs_no_database_and_sees_none() -> None:
    environ = {name: value for name, value in COMPLETE.items() if not name.startswith("POSTGRESQL")}
    assert load(Application.FLOWER, environ).database is None
    assert not [variable for variable in variables(Application.FLOWER) if variable.name.startswith("POSTGRESQL")]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("POSTGRESQL_PORT", "tcp://10.0.0.1:5432", "enableServiceLinks"),
        ("POSTGRESQL_PORT", "0", "from 1 to 65535"),
        ("FLOWER_PORT", "tcp://10.0.0.1:5555", "enableServiceLinks"),
        ("FLOWER_READ_ONLY", "maybe", "neither true nor false"),
        ("CELERY_WORKER_CONCURRENCY", "four", "whole number"),
        ("CELERY_WORKER_CONCURRENCY", "٣", "whole number"),
        ("CELERY_RESULT_EXPIRES", "-1", "whole number"),
        ("CELERY_TASK_TIME_LIMIT", str(LONGEST_TASK + 1), "whole number"),
        ("CELERY_WORKER_LOGLEVEL", "loud", "none of debug"),
        ("CELERY_BROKER_URL", "amqp://hunter2@host", "redis://"),
        ("CELERY_BROKER_URL", "redis://:hunter2@", "no host"),
        ("CELERY_BROKER_URL", "redis://:hunter2@host:port", "port"),
        ("CELERY_BROKER_URL", "redis://:hunter2@host/db", "database"),
    ],
)
def test_a_malformed_value_is_named_with_the_reason(name: str, value: str, says: str) -> None:
    application = Application.FLOWER if name.startswith("FLOWER") else Application.WORKER
    (problem,) = problems(application, {**COMPLETE, name: value})
    assert problem.startswith(name)
    assert says in problem


@given(st.dictionaries(st.sampled_from(sorted(COMPLETE)), texts), st.sampled_from(Application))
def test_no_secret_is_ever_shown(changes: dict[str, str], application: Application) -> None:
    secret = {variable.name for variable in VARIABLES if variable.secret}
    environ = {**COMPLETE, **{name: f"{value}hunter9" for name, value in changes.items() if name in secret}}
    try:
        shown = repr(load(application, environ))
    except SettingsError as error:
        shown = str(error)
    for word in (*SECRETS, "hunter9"):
        assert word not in shown


def test_a_secret_may_come_from_a_file() -> None:
    environ = {**COMPLETE, "POSTGRESQL_PASSWORD_FILE": "/run/secrets/password"}
    del environ["POSTGRESQL_PASSWORD"]
    settings = load(Application.WORKER, environ, read_file={"/run/secrets/password": "from file\n"}.__getitem__)
    assert settings.database is not None
    assert settings.database.password == "from file"


def test_a_secret_that_is_given_twice_or_unreadable_is_refused() -> None:
    twice = {**COMPLETE, "POSTGRESQL_PASSWORD_FILE": "/nowhere"}
    (problem,) = problems(Application.WORKER, twice)
    assert "both set" in problem
    del twice["POSTGRESQL_PASSWORD"]

    def absent(_path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(SettingsError, match=r"POSTGRESQL_PASSWORD_FILE names '/nowhere'.*No such file"):
        load(Application.WORKER, twice, read_file=absent)
    assert "files are not read here" in problems(Application.WORKER, twice)[0]


@given(user=texts, password=texts, name=texts)
def test_any_characters_reach_postgresql_unharmed(user: str, password: str, name: str) -> None:
    environ = {
        **COMPLETE, "POSTGRESQL_USER": user, "POSTGRESQL_PASSWORD": password, "POSTGRESQL_DATABASE": name,
    }  # fmt: skip
    database = load(Application.BACKEND, environ).database
    assert database is not None
    again = sa.make_url(database_url(database).render_as_string(hide_password=False))
    assert (again.username, again.password, again.database) == (user, password, name)


@given(texts)
def test_any_redis_password_reaches_redis_when_it_is_named(password: str) -> None:
    url = f"redis://:{password}@redis.svc:6379/1"
    environ = {**COMPLETE, "CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "REDIS_PASSWORD": password}
    parsed = parse_url(load(Application.FLOWER, environ).celery.broker_url)
    assert (parsed["password"], parsed["hostname"], parsed["virtual_host"]) == (password, "redis.svc", "1")


@pytest.mark.parametrize("password", ["p@ss/w:rd", "100%", "schlüssel", "with%40encoding"])
def test_a_redis_password_needs_no_encoding_in_the_url(password: str) -> None:
    environ = {**COMPLETE, "CELERY_BROKER_URL": f"redis://:{password}@redis.svc:6379"}
    parsed = parse_url(load(Application.FLOWER, environ).celery.broker_url)
    assert parsed["password"] == password.replace("%40", "@")
    assert parsed["hostname"] == "redis.svc"


def test_the_longest_task_ends_before_its_message_is_delivered_again() -> None:
    assert LONGEST_TASK < VISIBILITY_TIMEOUT


def test_settings_are_values() -> None:
    assert load(Application.WORKER, COMPLETE) == load(Application.WORKER, COMPLETE)
    assert isinstance(load(Application.WORKER, COMPLETE), Settings)


@pytest.mark.parametrize(
    ("limits", "application", "attribute"),
    [
        (Limits, Application.WORKER, "limits"),
        (ApiLimits, Application.BACKEND, "api_limits"),
        (LoginLimits, Application.BACKEND, "login_limits"),
    ],
)
def test_every_limit_is_a_variable_of_the_application_that_keeps_to_it(
    limits: type[Limits | ApiLimits | LoginLimits], application: Application, attribute: str
) -> None:
    names = [variable_of(field.name, limits) for field in dataclasses.fields(limits)]
    assert set(names) <= {variable.name for variable in variables(application)}
    settings = load(application, COMPLETE | {name: str(number + 7) for number, name in enumerate(names)})
    assert dataclasses.astuple(getattr(settings, attribute)) == tuple(range(7, 7 + len(names)))
    assert getattr(load(application, COMPLETE), attribute) == limits()
    with pytest.raises(SettingsError) as error:
        load(application, COMPLETE | {names[0]: "0", names[1]: "many"})
    assert len(error.value.problems) == 2


def test_json_cannot_be_allowed_to_nest_deeper_than_it_can_be_written() -> None:
    assert "from 1 to 200" in problems(Application.BACKEND, COMPLETE | {"IBUTSU_API_MAX_JSON_DEPTH": "201"})[0]


def test_the_other_numbers_are_read_by_the_application_that_needs_them() -> None:
    limits = {"IBUTSU_IMPORT_ATTEMPTS": "2", "IBUTSU_PAGE_MAX_QUERY_TIME": "3", "IBUTSU_PAGE_MAX_BYTES": "4"}
    worker = load(Application.WORKER, COMPLETE | limits)
    assert (worker.import_attempts, worker.page_query_time, worker.page_bytes) == (2, 3, 4)
    assert load(Application.BACKEND, COMPLETE | {"IBUTSU_TRUSTED_PROXIES": "2"}).trusted_proxies == 2
    assert load(Application.BACKEND, COMPLETE).trusted_proxies == 0


def test_the_retention_policy_is_checked_as_a_whole() -> None:
    months = {f"IBUTSU_RETENTION_{kind}_MONTHS": value for kind, value in (("ARTIFACTS", "6"), ("RESULTS", "12"))}
    for application in (Application.WORKER, Application.SCHEDULER, Application.BACKEND):
        assert problems(application, {**COMPLETE, **months}) == (
            (
                "IBUTSU_RETENTION_…_MONTHS: The retention of runs is 12 months and that of results 12 months, "
                "but runs must be kept for longer than results."
            ),
        )
        settings = load(application, {**COMPLETE, **months, "IBUTSU_RETENTION_RUNS_MONTHS": "24"})
        assert settings.retention == RetentionPolicy(6, 12, 24)
    assert load(Application.WORKER, COMPLETE).retention == load_retention({}) == RetentionPolicy()
    with pytest.raises(SettingsError, match="IBUTSU_RETENTION_RUNS_MONTHS='9' is not a whole number from 10 to 1200"):
        load_retention({"IBUTSU_RETENTION_RUNS_MONTHS": "9"})
    assert load(Application.FLOWER, {**COMPLETE, "IBUTSU_RETENTION_RUNS_MONTHS": "9"}).retention == RetentionPolicy()
