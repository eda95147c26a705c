"""What each application finds in its environment: what is given, what was made, and nothing of another's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ibutsu_core.settings import VARIABLES, Application, DatabaseSettings, Settings, SettingsError, load, variables
from ibutsu_server.embedded.errors import EmbeddedError
from ibutsu_server.embedded.processes import ordinary_environment

_DATABASE = tuple(variable for variable in VARIABLES if variable.name.startswith("POSTGRESQL_"))
_BROKER, _BACKEND = "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"


def _names(name: str) -> tuple[str, str]:
    return name, f"{name}_FILE"


def _is_set(name: str, environ: Mapping[str, str]) -> bool:
    return any(environ.get(each) for each in _names(name))


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the applications' variables that the user has set."""
    names = [name for variable in VARIABLES for name in _names(variable.name)]
    return {name: environ[name] for name in names if environ.get(name)}


def gives_database(environ: Mapping[str, str]) -> bool:
    """Tell whether PostgreSQL is given; a part of what is needed is an error."""
    present = [variable.name for variable in _DATABASE if _is_set(variable.name, environ)]
    lacking = [variable.name for variable in _DATABASE if variable.required and variable.name not in present]
    if present and lacking:
        raise EmbeddedError(
            f"{', '.join(present)} {_verb(present)} set, but {', '.join(lacking)} {_verb(lacking)} not. "
            "Set them all to use that PostgreSQL, or none to have one started."
        )
    return bool(present)


def gives_redis(environ: Mapping[str, str]) -> bool:
    """Tell whether Redis is given; a result backend alone is an error."""
    if _is_set(_BACKEND, environ) and not _is_set(_BROKER, environ):
        raise EmbeddedError(
            f"{_BACKEND} is set, but {_BROKER} is not. Set both to use that Redis, or none to have one started."
        )
    return _is_set(_BROKER, environ)


def _verb(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def of_database(settings: DatabaseSettings) -> dict[str, str]:
    """Return the variables that name this database."""
    return {
        "POSTGRESQL_HOST": settings.host,
        "POSTGRESQL_PORT": str(settings.port),
        "POSTGRESQL_USER": settings.user,
        "POSTGRESQL_PASSWORD": settings.password,
        "POSTGRESQL_DATABASE": settings.database,
    }


def with_result_backend(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values with the result backend set to the broker where it lacks."""
    if _is_set(_BACKEND, values):
        return dict(values)
    pairs = zip(_names(_BACKEND), _names(_BROKER), strict=True)
    return {**values, **{backend: values[broker] for backend, broker in pairs if broker in values}}


def of(application: Application, values: Mapping[str, str]) -> dict[str, str]:
    """Return the application's whole environment: its variables, and what any program needs."""
    names = [name for variable in variables(application) for name in _names(variable.name)]
    return ordinary_environment() | {"PYTHONUNBUFFERED": "1"} | {name: values[name] for name in names if name in values}


def read(application: Application, values: Mapping[str, str]) -> Settings:
    """Return the application's settings. Raises an error that names all that is wrong with them."""
    try:
        return load(application, values, read_file=lambda path: Path(path).read_text(encoding="utf-8"))
    except SettingsError as error:
        raise EmbeddedError(str(error)) from error


def secrets_of(values: Mapping[str, str]) -> list[str]:
    """Return the texts that must not be seen in a log: passwords, and URLs with one."""
    shown = {"POSTGRESQL_USER", "POSTGRESQL_DATABASE"}
    found = [values[variable.name] for variable in VARIABLES if variable.secret and variable.name in values
             and variable.name not in shown]  # fmt: skip
    passwords = [text.rpartition("@")[0].rpartition(":")[2] for text in found if "://" in text]
    pairs = [text.partition(":")[2] for text in values.get("FLOWER_BASIC_AUTH", "").split(",")]
    return [*found, *passwords, *pairs]
