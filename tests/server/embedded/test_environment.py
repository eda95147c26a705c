"""What each application finds in its environment."""

from __future__ import annotations

import re

import pytest

from ibutsu_core.settings import VARIABLES, Application
from ibutsu_server.embedded import environment
from ibutsu_server.embedded.errors import EmbeddedError

COMPLETE = {
    "POSTGRESQL_HOST": "db.example",
    "POSTGRESQL_USER": "someone",
    "POSTGRESQL_PASSWORD": "p@ss:w/rd%",
    "POSTGRESQL_DATABASE": "results",
    "CELERY_BROKER_URL": "redis://:broker-password@redis.example:6379/0",
    "FLOWER_BASIC_AUTH": "someone:flower-password",
}


def test_flower_sees_no_variable_of_the_database() -> None:
    values = environment.with_result_backend(COMPLETE)
    found = environment.of(Application.FLOWER, values)
    assert not [name for name in found if name.startswith("POSTGRESQL_")]
    assert found["FLOWER_BASIC_AUTH"] == COMPLETE["FLOWER_BASIC_AUTH"]


@pytest.mark.parametrize("application", [Application.WORKER, Application.SCHEDULER, Application.BACKEND])
def test_nobody_else_sees_the_password_of_flower(application: Application) -> None:
    values = environment.with_result_backend(COMPLETE)
    assert "FLOWER_BASIC_AUTH" not in environment.of(application, values)


@pytest.mark.parametrize("application", list(Application))
def test_an_application_gets_its_variables_and_no_other_setting(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of something else")
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    found = environment.of(application, environment.with_result_backend(COMPLETE))
    theirs = {variable.name for variable in VARIABLES if application in variable.applications}
    others = {variable.name for variable in VARIABLES} - theirs
    assert not others & found.keys()
    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert "PATH" in found
    assert environment.read(application, found).celery.broker_url == COMPLETE["CELERY_BROKER_URL"]


def test_a_complete_database_is_used_and_none_is_started() -> None:
    assert environment.gives_database(COMPLETE)
    assert environment.gives_database({**COMPLETE, "POSTGRESQL_PORT": "5433"})
    assert not environment.gives_database({"POSTGRESQL_HOST": ""})


def test_a_password_in_a_file_is_a_password() -> None:
    values = {**COMPLETE, "POSTGRESQL_PASSWORD_FILE": "/run/secrets/password"}
    del values["POSTGRESQL_PASSWORD"]
    assert environment.gives_database(values)
    assert environment.of(Application.WORKER, values)["POSTGRESQL_PASSWORD_FILE"] == "/run/secrets/password"


def test_half_a_database_is_an_error_that_names_what_lacks() -> None:
    with pytest.raises(
        EmbeddedError,
        match="POSTGRESQL_HOST is set, but POSTGRESQL_USER, POSTGRESQL_PASSWORD, POSTGRESQL_DATABASE are not",
    ):
        environment.gives_database({"POSTGRESQL_HOST": "db.example"})
    with pytest.raises(EmbeddedError, match="but POSTGRESQL_USER is not") as raised:
        environment.gives_database({name: value for name, value in COMPLETE.items() if name != "POSTGRESQL_USER"})
    assert COMPLETE["POSTGRESQL_PASSWORD"] not in str(raised.value)


def test_the_result_backend_is_the_broker_unless_it_is_given() -> None:
    assert environment.gives_redis(COMPLETE)
    assert environment.with_result_backend(COMPLETE)["CELERY_RESULT_BACKEND"] == COMPLETE["CELERY_BROKER_URL"]
    given = {**COMPLETE, "CELERY_RESULT_BACKEND": "redis://other:6379/1"}
    assert environment.with_result_backend(given) == given
    from_file = {"CELERY_BROKER_URL_FILE": "/run/secrets/broker"}
    assert environment.with_result_backend(from_file)["CELERY_RESULT_BACKEND_FILE"] == "/run/secrets/broker"


def test_a_result_backend_alone_is_an_error() -> None:
    with pytest.raises(EmbeddedError, match="CELERY_RESULT_BACKEND is set, but CELERY_BROKER_URL is not"):
        environment.gives_redis({"CELERY_RESULT_BACKEND": "redis://other:6379/1"})


def test_every_malformed_variable_is_named_at_once() -> None:
    values = {**COMPLETE, "POSTGRESQL_PORT": "many", "CELERY_RESULT_EXPIRES": "never"}
    with pytest.raises(EmbeddedError, match=re.compile("POSTGRESQL_PORT.*CELERY_RESULT_EXPIRES", re.DOTALL)):
        environment.read(Application.WORKER, environment.with_result_backend(values))


def test_passwords_are_known_as_secrets_however_they_are_written() -> None:
    found = environment.secrets_of(COMPLETE)
    assert {"p@ss:w/rd%", "broker-password", "flower-password", COMPLETE["CELERY_BROKER_URL"]} <= {*found}
    assert "someone" not in found
