"""Which application needs which environment variable, its default and what it means, as data."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from ibutsu_core.limits import LARGEST, MIB, ApiLimits, Limits, LoginLimits, variable_of
from ibutsu_core.retention import DEFAULTS, FLOORS, MAX_MONTHS, Kind
from ibutsu_core.settings.parsing import (
    LOG_LEVELS,
    LONGEST_TASK,
    address,
    basic_auth,
    flag,
    log_format,
    log_level,
    port,
    redis_url,
    text,
    whole,
)


class Application(enum.StrEnum):
    """The four processes of the system."""

    FLOWER = "flower"
    WORKER = "worker"
    SCHEDULER = "scheduler"
    BACKEND = "backend"


_ALL = frozenset(Application)
DATABASE = frozenset((Application.WORKER, Application.SCHEDULER, Application.BACKEND))


_FLOWER = frozenset((Application.FLOWER,))


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
    parse: Callable[[str], Any] = text
    default: str | None = None
    optional: bool = False
    secret: bool = False
    example: str = ""

    @property
    def required(self) -> bool:
        """Whether an application that reads it cannot start without it."""
        return self.default is None and not self.optional


def _of_limits(limits: type[Limits | ApiLimits | LoginLimits], application: Application) -> tuple[Variable, ...]:
    """Return the variables that set the limits' fields."""
    return tuple(
        Variable(
            name=variable_of(field.name, limits),
            applications=frozenset((application,)),
            meaning=f"at most: {field.metadata['meaning']}",
            parse=whole(1, field.metadata["high"]),
            default=str(field.default),
        )
        for field in dataclasses.fields(limits)
    )


VARIABLES: tuple[Variable, ...] = (
    Variable(
        name="CELERY_BROKER_URL",
        applications=_ALL,
        meaning="Redis, as the task queue; the same for all containers",
        parse=redis_url,
        secret=True,
        example="redis://:password@redis.svc:6379/0",
    ),
    Variable(
        name="CELERY_RESULT_BACKEND",
        applications=_ALL,
        meaning="Redis, as the store of task results",
        parse=redis_url,
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
        applications=DATABASE,
        meaning="PostgreSQL's host name, or the directory of its socket",
        example="postgresql.svc",
    ),
    Variable(
        name="POSTGRESQL_PORT",
        applications=DATABASE,
        meaning="PostgreSQL's port",
        parse=port,
        default="5432",
    ),
    Variable(
        name="POSTGRESQL_USER",
        applications=DATABASE,
        meaning="PostgreSQL's user, any characters",
        secret=True,
        example="ibutsu",
    ),
    Variable(
        name="POSTGRESQL_PASSWORD",
        applications=DATABASE,
        meaning="the user's password, any characters",
        secret=True,
        example="password",
    ),
    Variable(
        name="POSTGRESQL_DATABASE",
        applications=DATABASE,
        meaning="the database's name, any characters",
        secret=True,
        example="ibutsu",
    ),
    Variable(
        name="FLOWER_BASIC_AUTH",
        applications=_FLOWER,
        meaning="who may log in to Flower; required unless IBUTSU_FLOWER_UNLOCKED is true",
        parse=basic_auth,
        secret=True,
        example="username:password",
    ),
    Variable(
        name="FLOWER_PORT",
        applications=_FLOWER,
        meaning="where Flower listens",
        parse=port,
        default="5555",
    ),
    Variable(
        name="IBUTSU_FLOWER_UNLOCKED",
        applications=_FLOWER,
        meaning="whether Flower may start without FLOWER_BASIC_AUTH, behind a proxy that asks who one is",
        parse=flag,
        default="false",
    ),
    Variable(
        name="FLOWER_READ_ONLY",
        applications=_FLOWER,
        meaning="whether Flower only shows; else who logs in may end tasks and workers, and send tasks",
        parse=flag,
        default="true",
    ),
    Variable(
        name="FLOWER_MAX_TASKS",
        applications=_FLOWER,
        meaning="tasks that Flower remembers, the newest",
        parse=whole(1, 1_000_000),
        default="10000",
    ),
    Variable(
        name="FLOWER_MAX_WORKERS",
        applications=_FLOWER,
        meaning="workers that Flower remembers, the last seen",
        parse=whole(1, 100_000),
        default="500",
    ),
    Variable(
        name="FLOWER_PURGE_OFFLINE_WORKERS",
        applications=_FLOWER,
        meaning="seconds after which Flower forgets a worker that is gone",
        parse=whole(1, 365 * 24 * 60 * 60),
        default="86400",
    ),
    Variable(
        name="CELERY_WORKER_CONCURRENCY",
        applications=frozenset((Application.WORKER,)),
        meaning="how many tasks a worker runs at once",
        parse=whole(1, 1000),
        default="1",
    ),
    Variable(
        name="CELERY_RESULT_EXPIRES",
        applications=_ALL,
        meaning="seconds after which a task's result leaves Redis",
        parse=whole(1, 10 * 365 * 24 * 60 * 60),
        default="86400",
    ),
    Variable(
        name="CELERY_TASK_TIME_LIMIT",
        applications=frozenset((Application.WORKER,)),
        meaning=f"seconds after which a task is ended; never more than {LONGEST_TASK}",
        parse=whole(1, LONGEST_TASK),
        optional=True,
        example="3600",
    ),
    Variable(
        name="CELERY_WORKER_LOGLEVEL",
        applications=_ALL,
        meaning=f"how much is logged: {', '.join(LOG_LEVELS)}",
        parse=log_level,
        default="info",
    ),
    Variable(
        name="IBUTSU_LOG_FORMAT",
        applications=_ALL,
        meaning="`text` for people, or `json`: one object a line",
        parse=log_format,
        default="text",
    ),
    Variable(
        name="IBUTSU_HEALTH_ADDRESS",
        applications=frozenset((Application.WORKER, Application.SCHEDULER, Application.BACKEND)),
        meaning="where `/healthz`, `/readyz` and `/metrics` are answered, `HOST:PORT`; `:8081` is on all interfaces",
        parse=address,
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
        parse=whole(0, LONGEST_TASK),
        default="3600",
    ),
    Variable(
        name="IBUTSU_IMPORT_ATTEMPTS",
        applications=frozenset((Application.WORKER,)),
        meaning="workers that may be lost over one import before it ends as `error`",
        parse=whole(1, 1000),
        default="5",
    ),
    *_of_limits(Limits, Application.WORKER),
    Variable(
        name="IBUTSU_PAGE_MAX_QUERY_TIME",
        applications=frozenset((Application.WORKER,)),
        meaning="at most: seconds that a query takes for a page that a worker makes",
        parse=whole(1, LONGEST_TASK),
        default="600",
    ),
    Variable(
        name="IBUTSU_PAGE_MAX_BYTES",
        applications=frozenset((Application.WORKER,)),
        meaning="at most: bytes of the entries on a page that a worker makes, unless it is one",
        parse=whole(1, LARGEST),
        default=str(32 * MIB),
    ),
    *_of_limits(ApiLimits, Application.BACKEND),
    *_of_limits(LoginLimits, Application.BACKEND),
    Variable(
        name="IBUTSU_TRUSTED_PROXIES",
        applications=frozenset((Application.BACKEND,)),
        meaning="reverse proxies before the API, whose X-Forwarded-For tells the client's address; 0 ignores it",
        parse=whole(0, 100),
        default="0",
    ),
    *(
        Variable(
            name=f"IBUTSU_RETENTION_{kind.name}_MONTHS",
            applications=DATABASE,
            meaning=f"months that {kind} are kept, but in projects with a policy of their own; at least {FLOORS[kind]}",
            parse=whole(FLOORS[kind], MAX_MONTHS),
            default=str(DEFAULTS[kind]),
        )
        for kind in Kind
    ),
)


def variables(application: Application) -> tuple[Variable, ...]:
    """Return the variables that the application reads, in the order of the documentation."""
    return tuple(variable for variable in VARIABLES if application in variable.applications)
