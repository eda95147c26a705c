"""What is looked at, as the environment says."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ibutsu_core import settings
from ibutsu_core.retention import RetentionError
from ibutsu_core.schedule import Entry, beat_entries
from ibutsu_core.settings import VARIABLES, Application, DatabaseSettings, Variable
from ibutsu_server.ops.doctor.finding import Finding, failure, ok, warning
from ibutsu_server.ops.doctor.mends import Advice, Mends

CHECK = "environment"

UNLOCKED = "IBUTSU_FLOWER_UNLOCKED"
"""The variable with which Flower needs no login."""

_COMMANDS = frozenset(("IBUTSU_URL", "IBUTSU_TOKEN", "IBUTSU_EMBEDDED_SERVERS", UNLOCKED))
"""Variables that commands read, beside those of `VARIABLES`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The system to look at: what is None is not known, or not right."""

    broker_url: str | None = dataclasses.field(default=None, repr=False)
    result_backend: str | None = dataclasses.field(default=None, repr=False)
    database: DatabaseSettings | None = dataclasses.field(default=None, repr=False)
    wants_database: bool = True
    entries: tuple[Entry, ...] = ()
    public_url: str | None = None
    secrets: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    findings: tuple[Finding, ...] = ()


def read(environ: Mapping[str, str], *, read_file: Callable[[str], str], kubernetes: bool = False) -> Subject:
    """Return what the environment of a worker, a scheduler, a backend or Flower says."""
    flower = is_flower(environ)
    chosen = tuple(variable for variable in VARIABLES if _counts(variable, environ, flower=flower))
    values, problems = settings.examine(chosen, environ, read_file=read_file)
    try:
        entries = beat_entries(settings.retention_of(values))
    except RetentionError as error:
        entries = beat_entries()
        problems.append(f"IBUTSU_RETENTION_…_MONTHS: {error}")
    advice = Advice(kubernetes)
    findings = [
        failure(
            CHECK,
            problem,
            "It was never set, or was mistyped.",
            advice.command(Mends.ENVIRONMENT, name=re.split(r"\W", problem, maxsplit=1)[0]),
        )
        for problem in problems
    ]
    findings += list(_unknown(environ))
    if not findings:
        given = sum(1 for variable in chosen if _is_set(variable, environ))
        findings.append(ok(CHECK, f"{given} variables are set, and right."))
    return Subject(
        broker_url=values.get("CELERY_BROKER_URL"),
        result_backend=values.get("CELERY_RESULT_BACKEND"),
        database=None if flower else settings.database_of(values),
        wants_database=not flower,
        entries=entries,
        public_url=values.get("IBUTSU_PUBLIC_URL"),
        secrets=tuple(_secrets(values)),
        findings=tuple(findings),
    )


def is_flower(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment is Flower's: with what only Flower reads, and without a database."""
    names = [name for name, text in environ.items() if text]
    flowers = any(name.startswith("FLOWER_BASIC_AUTH") or name == UNLOCKED for name in names)
    return flowers and not any(name.startswith("POSTGRESQL_") for name in names)


def _is_set(variable: Variable, environ: Mapping[str, str]) -> bool:
    return bool(environ.get(variable.name) or environ.get(f"{variable.name}_FILE"))


def _counts(variable: Variable, environ: Mapping[str, str], *, flower: bool) -> bool:
    if _is_set(variable, environ):
        return True
    if variable.name == "FLOWER_BASIC_AUTH" and environ.get(UNLOCKED, "").lower() == "true":
        return False
    if variable.required:
        return Application.FLOWER in variable.applications if flower else Application.WORKER in variable.applications
    return True


def _unknown(environ: Mapping[str, str]) -> Iterable[Finding]:
    """Yield a warning for each variable of ours that nothing reads: a slip of the pen is silent otherwise."""
    names = [variable.name for variable in VARIABLES if variable.name.startswith("IBUTSU_")]
    known = {*names, *(f"{name}_FILE" for name in names), *_COMMANDS}
    for name in sorted(environ):
        # Kubernetes describes its services, ibutsu-backend for one, by variables.
        link = re.search(r"_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_.*)?)$", name)
        if name.startswith("IBUTSU_") and name not in known and not link:
            close = difflib.get_close_matches(name, names, 1)
            cause = f"It may be meant for {close[0]}." if close else "It may be left over from another version."
            yield warning(CHECK, f"{name} is set, but nothing reads it.", cause, f"unset {name}")


def _secrets(values: Mapping[str, Any]) -> Iterable[str]:
    """Yield the texts that no report may hold: passwords, as they are and as a URL has them."""
    for variable in VARIABLES:
        text = values.get(variable.name)
        if not variable.secret or not text or variable.name in ("POSTGRESQL_USER", "POSTGRESQL_DATABASE"):
            continue
        yield text
        if "://" in text:
            password = urlsplit(text).password
            if password:
                yield from (password, unquote(password))
        elif variable.name == "FLOWER_BASIC_AUTH":
            yield from (pair.partition(":")[2] for pair in text.split(","))
