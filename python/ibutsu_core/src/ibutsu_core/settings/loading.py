"""An application's environment, read once into typed settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from ibutsu_core.limits import MIB, ApiLimits, Limits, LoginLimits, variable_of
from ibutsu_core.retention import Kind, RetentionError, RetentionPolicy
from ibutsu_core.settings.parsing import redis_url
from ibutsu_core.settings.variables import DATABASE, VARIABLES, Application, Variable, variables

AnyLimits = TypeVar("AnyLimits", Limits, ApiLimits, LoginLimits)


class SettingsError(Exception):
    """The environment lacks something or has something malformed. `problems` has one sentence for each."""

    def __init__(self, application: Application | None, problems: tuple[str, ...]) -> None:
        self.application = application
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        what = f"The {application} cannot start, its" if application else "The"
        super().__init__(f"{what} environment is not right:{lines}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CelerySettings:
    """What every Celery application and every sender of tasks needs. Times are in seconds."""

    broker_url: str = dataclasses.field(repr=False)
    result_backend: str = dataclasses.field(repr=False)
    result_expires: int = 86400
    worker_concurrency: int = 1
    task_time_limit: int | None = None
    loglevel: str = "info"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Where PostgreSQL is. The fields are plain text: whoever makes a URL of them encodes them."""

    host: str
    port: int
    user: str = dataclasses.field(repr=False)
    password: str = dataclasses.field(repr=False)
    database: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One application's settings. `database` is None for Flower.

    `flower_options` are the texts of those variables that Flower itself reads.

    `health_address`, a host ("" for all) and a port, is all others' than Flower's; `import_attempts`,
    `shutdown_time` (seconds), `limits`, `page_query_time` (seconds) and `page_bytes` are the worker's, the limits below
    them the backend's. `retention` is the policy of projects that have none of their own.
    """

    application: Application
    celery: CelerySettings
    database: DatabaseSettings | None = None
    flower_options: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    public_url: str | None = None
    log_format: str = "text"
    health_address: tuple[str, int] | None = None
    import_attempts: int = 5
    shutdown_time: int = 3600
    limits: Limits = dataclasses.field(default_factory=Limits)
    page_query_time: int = 600
    page_bytes: int = 32 * MIB
    api_limits: ApiLimits = dataclasses.field(default_factory=ApiLimits)
    login_limits: LoginLimits = dataclasses.field(default_factory=LoginLimits)
    trusted_proxies: int = 0
    retention: RetentionPolicy = dataclasses.field(default_factory=RetentionPolicy)

    def secrets(self) -> tuple[str, ...]:
        """Return the texts that no log may show: passwords, as they are and as a URL has them."""
        texts = [self.database.password] if self.database else []
        for url in (self.celery.broker_url, self.celery.result_backend):
            password = url.rpartition("@")[0].rpartition(":")[2]
            texts += [password, unquote(password)]
        texts += [pair.partition(":")[2] for pair in self.flower_options.get("FLOWER_BASIC_AUTH", "").split(",")]
        return tuple(dict.fromkeys(filter(None, texts)))


def load(
    application: Application,
    environ: Mapping[str, str],
    *,
    read_file: Callable[[str], str] | None = None,
) -> Settings:
    """Read the application's settings from `environ`; an empty variable counts as unset.

    `read_file` returns the text of a file that a `NAME_FILE` variable names, or raises OSError or UnicodeDecodeError;
    without it such variables are refused, for this package opens no file. Raises SettingsError that names every
    problem at once and holds no secret.
    """
    values, problems = _read(_variables_for(application, environ), environ, read_file)
    if problems:
        raise SettingsError(application, tuple(problems))
    try:
        return _typed(application, values)
    except RetentionError as error:
        raise SettingsError(application, (f"IBUTSU_RETENTION_…_MONTHS: {error}",)) from error


def _variables_for(application: Application, environ: Mapping[str, str]) -> tuple[Variable, ...]:
    unlocked = environ.get("IBUTSU_FLOWER_UNLOCKED", "").lower() == "true"
    return tuple(
        dataclasses.replace(variable, optional=True) if unlocked and variable.name == "FLOWER_BASIC_AUTH" else variable
        for variable in variables(application)
    )


def load_database(environ: Mapping[str, str], *, read_file: Callable[[str], str] | None = None) -> DatabaseSettings:
    """Read only where PostgreSQL is, for commands that need nothing else; see `load`."""
    chosen = tuple(variable for variable in VARIABLES if variable.name.startswith("POSTGRESQL_"))
    values, problems = _read(chosen, environ, read_file)
    if problems:
        raise SettingsError(None, tuple(problems))
    return _database(values)


def load_retention(environ: Mapping[str, str]) -> RetentionPolicy:
    """Read only the retention policy, for commands; see `load`."""
    chosen = tuple(variable for variable in VARIABLES if variable.name.startswith("IBUTSU_RETENTION_"))
    values, problems = _read(chosen, environ, None)
    try:
        if not problems:
            return _retention(values)
    except RetentionError as error:
        problems.append(f"IBUTSU_RETENTION_…_MONTHS: {error}")
    raise SettingsError(None, tuple(problems))


def examine(
    chosen: tuple[Variable, ...], environ: Mapping[str, str], *, read_file: Callable[[str], str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of those of the variables that are right or not set, and a sentence for each problem.

    A value is None where the variable is not set and has no default. The sentences hold no secret; see `load`.
    """
    return _read(chosen, environ, read_file)


def database_of(values: Mapping[str, Any]) -> DatabaseSettings | None:
    """Return where PostgreSQL is by the values that `examine` found, None where one of them lacks."""
    needed = [variable.name for variable in VARIABLES if variable.name.startswith("POSTGRESQL_")]
    return _database(values) if all(values.get(name) is not None for name in needed) else None


def retention_of(values: Mapping[str, Any]) -> RetentionPolicy:
    """Return the retention policy by the values that `examine` found. Raises RetentionError."""
    names = {kind: f"IBUTSU_RETENTION_{kind.name}_MONTHS" for kind in Kind}
    return RetentionPolicy.of({kind.value: values[name] for kind, name in names.items() if values.get(name)})


def _read(
    chosen: tuple[Variable, ...], environ: Mapping[str, str], read_file: Callable[[str], str] | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the variables, and a sentence for each problem."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    texts: dict[str, str] = {}
    for variable in chosen:
        try:
            text = _text_of(variable, environ, read_file)
        except ValueError as error:
            problems.append(str(error))
            continue
        if text is None:
            if variable.required:
                problems.append(_missing(variable))
            values[variable.name] = None
            continue
        texts[variable.name] = text
    password = texts.get("REDIS_PASSWORD")
    for variable in chosen:
        text = texts.get(variable.name)
        if text is None:
            continue
        if password and variable.parse is redis_url:
            text = text.replace(f":{password}@", f":{quote(password, safe='')}@", 1)
        try:
            values[variable.name] = variable.parse(text)
        except ValueError as error:
            shown = "" if variable.secret else f"={text!r}"
            problems.append(f"{variable.name}{shown} {error}.")
    return values, problems


def _text_of(variable: Variable, environ: Mapping[str, str], read_file: Callable[[str], str] | None) -> str | None:
    text = environ.get(variable.name) or None
    path = environ.get(f"{variable.name}_FILE") if variable.secret else None
    if text and path:
        raise ValueError(f"{variable.name} and {variable.name}_FILE are both set; keep one of them.")
    if path:
        if read_file is None:
            raise ValueError(f"{variable.name}_FILE is set, but files are not read here; set {variable.name}.")
        try:
            text = read_file(path).rstrip("\r\n") or None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ValueError(f"{variable.name}_FILE names {path!r}, which cannot be read: {reason}.") from error
        if text is None:
            raise ValueError(f"{variable.name}_FILE names {path!r}, which is empty.")
    return text or variable.default


def _missing(variable: Variable) -> str:
    file = f" (or {variable.name}_FILE)" if variable.secret else ""
    return f"{variable.name}{file} is not set: {variable.meaning}. Example: {variable.example}"


def _typed(application: Application, values: Mapping[str, Any]) -> Settings:
    celery = CelerySettings(
        broker_url=values["CELERY_BROKER_URL"],
        result_backend=values["CELERY_RESULT_BACKEND"],
        result_expires=values["CELERY_RESULT_EXPIRES"],
        worker_concurrency=values.get("CELERY_WORKER_CONCURRENCY") or 1,
        task_time_limit=values.get("CELERY_TASK_TIME_LIMIT"),
        loglevel=values["CELERY_WORKER_LOGLEVEL"],
    )
    return Settings(
        application=application,
        celery=celery,
        database=_database(values) if application in DATABASE else None,
        flower_options={
            name: str(value) for name, value in values.items() if name.startswith("FLOWER_") and value is not None
        },
        public_url=values.get("IBUTSU_PUBLIC_URL"),
        log_format=values["IBUTSU_LOG_FORMAT"],
        health_address=values.get("IBUTSU_HEALTH_ADDRESS"),
        retention=_retention(values) if application in DATABASE else RetentionPolicy(),
        **_of_worker(values) if application is Application.WORKER else {},
        **_of_backend(values) if application is Application.BACKEND else {},
    )


def _of_worker(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "import_attempts": values["IBUTSU_IMPORT_ATTEMPTS"],
        "shutdown_time": values["IBUTSU_WORKER_SHUTDOWN_TIME"],
        "limits": _limits(Limits, values),
        "page_query_time": values["IBUTSU_PAGE_MAX_QUERY_TIME"],
        "page_bytes": values["IBUTSU_PAGE_MAX_BYTES"],
    }


def _of_backend(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "api_limits": _limits(ApiLimits, values),
        "login_limits": _limits(LoginLimits, values),
        "trusted_proxies": values["IBUTSU_TRUSTED_PROXIES"],
    }


def _limits(limits: type[AnyLimits], values: Mapping[str, Any]) -> AnyLimits:
    return limits(**{field.name: values[variable_of(field.name, limits)] for field in dataclasses.fields(limits)})


def _retention(values: Mapping[str, Any]) -> RetentionPolicy:
    return RetentionPolicy.of({kind.value: values[f"IBUTSU_RETENTION_{kind.name}_MONTHS"] for kind in Kind})


def _database(values: Mapping[str, Any]) -> DatabaseSettings:
    return DatabaseSettings(
        host=values["POSTGRESQL_HOST"],
        port=values["POSTGRESQL_PORT"],
        user=values["POSTGRESQL_USER"],
        password=values["POSTGRESQL_PASSWORD"],
        database=values["POSTGRESQL_DATABASE"],
    )
