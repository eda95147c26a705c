"""The environment of each application, as data, and read once into typed settings.

`VARIABLES` is the one place that says which application needs which variable, its default and what it means.
Start-up, the documentation, `ibutsu doctor` and the manifests' tests all read it.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from ibutsu_core.limits import LARGEST, MIB, ApiLimits, Limits, LoginLimits, variable_of
from ibutsu_core.retention import DEFAULTS, FLOORS, MAX_MONTHS, Kind, RetentionError, RetentionPolicy

VISIBILITY_TIMEOUT = 12 * 60 * 60
"""Seconds after which Redis hands an unacknowledged message to another worker; above the longest task."""

LONGEST_TASK = VISIBILITY_TIMEOUT - 60 * 60
"""Seconds that a task may take at most: an hour below the visibility timeout."""

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

LOG_FORMATS = ("text", "json")


class Application(enum.StrEnum):
    """The four processes of the system."""

    FLOWER = "flower"
    WORKER = "worker"
    SCHEDULER = "scheduler"
    BACKEND = "backend"


class SettingsError(Exception):
    """The environment lacks something or has something malformed. `problems` has one sentence for each."""

    def __init__(self, application: Application | None, problems: tuple[str, ...]) -> None:
        self.application = application
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        what = f"The {application} cannot start, its" if application else "The"
        super().__init__(f"{what} environment is not right:{lines}")


def _text(value: str) -> str:
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]+", value, re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(value)

    return parse


def _port(value: str) -> int:
    if value.startswith("tcp://"):
        # Kubernetes injects NAME_PORT=tcp://… for a Service called `postgresql`.
        raise ValueError(
            "is a Kubernetes service link, not a port; set it explicitly, or set enableServiceLinks: false"
        )
    return _whole(1, 65535)(value)


def _flag(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return value.lower() == "true"


def _log_level(value: str) -> str:
    if value.lower() not in LOG_LEVELS:
        raise ValueError(f"is none of {', '.join(LOG_LEVELS)}")
    return value.lower()


def _log_format(value: str) -> str:
    if value not in LOG_FORMATS:
        raise ValueError(f"is neither {' nor '.join(LOG_FORMATS)}")
    return value


def _address(value: str) -> tuple[str, int]:
    host, separator, port = value.rpartition(":")
    if not separator or ("[" in host) != (":" in host):
        raise ValueError("is not of the form HOST:PORT or :PORT")
    try:
        return host.strip("[]"), _whole(0, 65535)(port)
    except ValueError as error:
        raise ValueError(f"has a port that {error}") from error


def _redis_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in ("redis", "rediss"):
        raise ValueError("is not a URL of the form redis://:PASSWORD@HOST:PORT/DATABASE")
    # A password may hold any character; only the last @ before the host ends it.
    credentials, at, address = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    try:
        url = urlsplit(f"{scheme}://{address}")
        host, _port_number = url.hostname, url.port
    except ValueError as error:
        raise ValueError("has a port that is not a number from 0 to 65535") from error
    if not host:
        raise ValueError("names no host; the form is redis://:PASSWORD@HOST:PORT/DATABASE")
    if not re.fullmatch(r"/?[0-9]*", url.path, re.ASCII):
        raise ValueError("has a database that is not a number; the form is redis://:PASSWORD@HOST:PORT/DATABASE")
    if not at:
        return value
    return f"{scheme}://{_encoded(user)}:{_encoded(password)}@{address}"


def _encoded(text: str) -> str:
    """Percent-encode what a URL cannot hold; what is percent-encoded already stays as it is."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return quote(text, safe="")
    return quote(text, safe="%")


def _basic_auth(value: str) -> str:
    for pair in value.split(","):
        user, separator, password = pair.partition(":")
        if not (user and separator and password):
            raise ValueError("is not of the form USERNAME:PASSWORD")
    return value


_ALL = frozenset(Application)
_CELERY = frozenset((Application.FLOWER, Application.WORKER, Application.SCHEDULER))
_DATABASE = frozenset((Application.WORKER, Application.SCHEDULER, Application.BACKEND))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable.

    `applications` are those that read it; all of them require it when `default` is None and `optional` is false.
    A `secret` is never printed, and may come from a file that `NAME_FILE` names. `parse` turns the text into the
    value, or raises a ValueError whose message goes on from "NAME …" and does not repeat the text.
    """

    name: str
    applications: frozenset[Application]
    meaning: str
    parse: Callable[[str], Any] = _text
    default: str | None = None
    optional: bool = False
    secret: bool = False
    example: str = ""

    @property
    def required(self) -> bool:
        """Whether an application that reads it cannot start without it."""
        return self.default is None and not self.optional


_FLOWER = frozenset((Application.FLOWER,))

AnyLimits = TypeVar("AnyLimits", Limits, ApiLimits, LoginLimits)


def _of_limits(limits: type[Limits | ApiLimits | LoginLimits], application: Application) -> tuple[Variable, ...]:
    """Return the variables that set the limits' fields."""
    return tuple(
        Variable(
            name=variable_of(field.name, limits),
            applications=frozenset((application,)),
            meaning=f"at most: {field.metadata['meaning']}",
            parse=_whole(1, field.metadata["high"]),
            default=str(field.default),
        )
        for field in dataclasses.fields(limits)
    )


VARIABLES: tuple[Variable, ...] = (
    Variable(
        name="CELERY_BROKER_URL",
        applications=_ALL,
        meaning="Redis, as the task queue; the same for all containers",
        parse=_redis_url,
        secret=True,
        example="redis://:password@redis.svc:6379/0",
    ),
    Variable(
        name="CELERY_RESULT_BACKEND",
        applications=_ALL,
        meaning="Redis, as the store of task results",
        parse=_redis_url,
        secret=True,
        example="redis://:password@redis.svc:6379/0",
    ),
    Variable(
        name="REDIS_PASSWORD",
        applications=_ALL,
        meaning="where the two URLs above hold this password verbatim, it is percent-encoded there",
        optional=True,
        secret=True,
        example="password",
    ),
    Variable(
        name="POSTGRESQL_HOST",
        applications=_DATABASE,
        meaning="PostgreSQL's host name, or the directory of its socket",
        example="postgresql.svc",
    ),
    Variable(
        name="POSTGRESQL_PORT",
        applications=_DATABASE,
        meaning="PostgreSQL's port",
        parse=_port,
        default="5432",
    ),
    Variable(
        name="POSTGRESQL_USER",
        applications=_DATABASE,
        meaning="PostgreSQL's user, any characters",
        secret=True,
        example="ibutsu",
    ),
    Variable(
        name="POSTGRESQL_PASSWORD",
        applications=_DATABASE,
        meaning="the user's password, any characters",
        secret=True,
        example="password",
    ),
    Variable(
        name="POSTGRESQL_DATABASE",
        applications=_DATABASE,
        meaning="the database's name, any characters",
        secret=True,
        example="ibutsu",
    ),
    Variable(
        name="FLOWER_BASIC_AUTH",
        applications=_FLOWER,
        meaning="who may log in to Flower; required unless IBUTSU_FLOWER_UNLOCKED is true",
        parse=_basic_auth,
        secret=True,
        example="username:password",
    ),
    Variable(
        name="FLOWER_PORT",
        applications=_FLOWER,
        meaning="where Flower listens",
        parse=_port,
        default="5555",
    ),
    Variable(
        name="IBUTSU_FLOWER_UNLOCKED",
        applications=_FLOWER,
        meaning="whether Flower may start without FLOWER_BASIC_AUTH, behind a proxy that asks who one is",
        parse=_flag,
        default="false",
    ),
    Variable(
        name="FLOWER_READ_ONLY",
        applications=_FLOWER,
        meaning="whether Flower only shows; else who logs in may end tasks and workers, and send tasks",
        parse=_flag,
        default="true",
    ),
    Variable(
        name="FLOWER_MAX_TASKS",
        applications=_FLOWER,
        meaning="tasks that Flower remembers, the newest",
        parse=_whole(1, 1_000_000),
        default="10000",
    ),
    Variable(
        name="FLOWER_MAX_WORKERS",
        applications=_FLOWER,
        meaning="workers that Flower remembers, the last seen",
        parse=_whole(1, 100_000),
        default="500",
    ),
    Variable(
        name="FLOWER_PURGE_OFFLINE_WORKERS",
        applications=_FLOWER,
        meaning="seconds after which Flower forgets a worker that is gone",
        parse=_whole(1, 365 * 24 * 60 * 60),
        default="86400",
    ),
    Variable(
        name="CELERY_WORKER_CONCURRENCY",
        applications=frozenset((Application.WORKER,)),
        meaning="how many tasks a worker runs at once",
        parse=_whole(1, 1000),
        default="1",
    ),
    Variable(
        name="CELERY_RESULT_EXPIRES",
        applications=_ALL,
        meaning="seconds after which a task's result leaves Redis",
        parse=_whole(1, 10 * 365 * 24 * 60 * 60),
        default="86400",
    ),
    Variable(
        name="CELERY_TASK_TIME_LIMIT",
        applications=frozenset((Application.WORKER,)),
        meaning=f"seconds after which a task is ended; never more than {LONGEST_TASK}",
        parse=_whole(1, LONGEST_TASK),
        optional=True,
        example="3600",
    ),
    Variable(
        name="CELERY_WORKER_LOGLEVEL",
        applications=_ALL,
        meaning=f"how much is logged: {', '.join(LOG_LEVELS)}",
        parse=_log_level,
        default="info",
    ),
    Variable(
        name="IBUTSU_LOG_FORMAT",
        applications=_ALL,
        meaning="`text` for people, or `json`: one object a line",
        parse=_log_format,
        default="text",
    ),
    Variable(
        name="IBUTSU_HEALTH_ADDRESS",
        applications=frozenset((Application.WORKER, Application.SCHEDULER)),
        meaning="where `/healthz`, `/readyz` and `/metrics` are answered, `HOST:PORT`; `:8081` is on all interfaces",
        parse=_address,
        optional=True,
        example=":8081",
    ),
    Variable(
        name="IBUTSU_PUBLIC_URL",
        applications=frozenset((Application.BACKEND,)),
        meaning="where people reach the API, for the links that it answers; the request's own address when unset",
        optional=True,
        example="https://ibutsu.example.com",
    ),
    Variable(
        name="IBUTSU_WORKER_SHUTDOWN_TIME",
        applications=frozenset((Application.WORKER,)),
        meaning="seconds that a worker told to end (SIGTERM) has for its tasks, which then go back to the queue; "
        "less than the grace period of who ends it",
        parse=_whole(0, LONGEST_TASK),
        default="3600",
    ),
    Variable(
        name="IBUTSU_IMPORT_ATTEMPTS",
        applications=frozenset((Application.WORKER,)),
        meaning="workers that may be lost over one import before it ends as `error`",
        parse=_whole(1, 1000),
        default="5",
    ),
    *_of_limits(Limits, Application.WORKER),
    Variable(
        name="IBUTSU_PAGE_MAX_QUERY_TIME",
        applications=frozenset((Application.WORKER,)),
        meaning="at most: seconds that a query takes for a page that a worker makes",
        parse=_whole(1, LONGEST_TASK),
        default="600",
    ),
    Variable(
        name="IBUTSU_PAGE_MAX_BYTES",
        applications=frozenset((Application.WORKER,)),
        meaning="at most: bytes of the entries on a page that a worker makes, unless it is one",
        parse=_whole(1, LARGEST),
        default=str(32 * MIB),
    ),
    *_of_limits(ApiLimits, Application.BACKEND),
    *_of_limits(LoginLimits, Application.BACKEND),
    Variable(
        name="IBUTSU_TRUSTED_PROXIES",
        applications=frozenset((Application.BACKEND,)),
        meaning="reverse proxies before the API, whose X-Forwarded-For tells the client's address; 0 ignores it",
        parse=_whole(0, 100),
        default="0",
    ),
    *(
        Variable(
            name=f"IBUTSU_RETENTION_{kind.name}_MONTHS",
            applications=_DATABASE,
            meaning=f"months that {kind} are kept, but in projects with a policy of their own; at least {FLOORS[kind]}",
            parse=_whole(FLOORS[kind], MAX_MONTHS),
            default=str(DEFAULTS[kind]),
        )
        for kind in Kind
    ),
)


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

    `health_address`, a host ("" for all) and a port, is the worker's and the scheduler's; `import_attempts`,
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


def variables(application: Application) -> tuple[Variable, ...]:
    """Return the variables that the application reads, in the order of the documentation."""
    return tuple(variable for variable in VARIABLES if application in variable.applications)


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
        if password and variable.parse is _redis_url:
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
        database=_database(values) if application in _DATABASE else None,
        flower_options={
            name: str(value) for name, value in values.items() if name.startswith("FLOWER_") and value is not None
        },
        public_url=values.get("IBUTSU_PUBLIC_URL"),
        log_format=values["IBUTSU_LOG_FORMAT"],
        health_address=values.get("IBUTSU_HEALTH_ADDRESS"),
        retention=_retention(values) if application in _DATABASE else RetentionPolicy(),
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
