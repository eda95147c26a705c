"""What is made ready before the first process starts: the data directory, the servers' data, ports and settings."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ibutsu_core.settings import Application, CelerySettings, DatabaseSettings, Settings
from ibutsu_server.embedded import commands, environment, files, ports, postgres, redis
from ibutsu_server.embedded.errors import EmbeddedError
from ibutsu_server.embedded.logs import Log

FLOWER_USER = "ibutsu"

_BROKER = "CELERY_BROKER_URL"
_ANY_REDIS = "redis://127.0.0.1:1/0"
_ANY_DATABASE = DatabaseSettings(host=ports.LOOPBACK, port=1, user="any", password="any", database="any")  # noqa: S106


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    data_directory: Path
    sample: bool = True
    workers: int = 1
    port: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the start needs to know. `cluster` and `store` are None where the environment gives the server."""

    options: Options
    directory: Path
    work: Path
    api_port: int
    flower_port: int
    cluster: postgres.Cluster | None
    store: redis.Store | None
    values: Mapping[str, str] = dataclasses.field(repr=False)
    database: DatabaseSettings
    celery: CelerySettings
    admin_password: str = dataclasses.field(repr=False)

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"http://{ports.LOOPBACK}:{self.api_port}"

    @property
    def flower_url(self) -> str:
        """Where Flower is."""
        return f"http://{ports.LOOPBACK}:{self.flower_port}"

    def secrets(self) -> list[str]:
        """Return what no log may show."""
        broker = urlsplit(self.celery.broker_url).password or ""
        found = [self.admin_password, self.database.password, broker, unquote(broker)]
        return [*found, *environment.secrets_of(self.values)]


def prepare(options: Options, environ: Mapping[str, str], directory: Path, log: Log) -> Plan:
    """Prepare the start in the data directory, whose lock the caller holds."""
    own_database = not environment.gives_database(environ)
    own_redis = not environment.gives_redis(environ)
    api_port = _api_port(options)
    files.require_space(directory)
    work = files.private_directory(directory / "work")
    details = _details(directory / "passwords.json")

    values = environment.given(environ)
    values.setdefault("FLOWER_BASIC_AUTH", f"{FLOWER_USER}:{details['flower']}")
    if own_redis:
        for name in ("REDIS_PASSWORD", "REDIS_PASSWORD_FILE"):
            values.pop(name, None)
    # What the user gave is judged before anything is made for it.
    planned = (environment.of_database(_ANY_DATABASE) if own_database else {}) | (
        {_BROKER: _ANY_REDIS} if own_redis else {}
    )
    _read_all({**values, **planned})

    cluster = store = None
    if own_database:
        place = files.private_directory(directory / "postgres")
        if not (place / "data").exists():
            log.say("Making the database; this is done once.")
        cluster = postgres.prepare(place, own=directory, say=log.say)
        values |= environment.of_database(cluster.settings)
    if own_redis:
        store = redis.prepare(files.private_directory(directory / "redis"))
        values[_BROKER] = store.url
    values = environment.with_result_backend(values)
    api = _read_all(values)[Application.BACKEND]
    if api.database is None:
        raise EmbeddedError("The API's settings hold no database.")
    plan = Plan(
        options=options,
        directory=directory,
        work=work,
        api_port=api_port,
        flower_port=ports.free_port(commands.FLOWER_PORT),
        cluster=cluster,
        store=store,
        values=values,
        database=api.database,
        celery=api.celery,
        admin_password=details["admin"],
    )
    log.hide(plan.secrets())
    return plan


def _read_all(values: Mapping[str, str]) -> dict[Application, Settings]:
    """Return every application's settings. Raises an error that says what is wrong with them."""
    complete = environment.with_result_backend(values)
    return {application: environment.read(application, complete) for application in Application}


def _api_port(options: Options) -> int:
    if options.port is None:
        return ports.free_port(commands.API_PORT)
    if not ports.is_free(options.port):
        raise EmbeddedError(
            f"Port {options.port} is in use by another program, or not allowed. "
            "Choose another one with --port, or leave it out to have a free one chosen."
        )
    return options.port


def _details(path: Path) -> dict[str, str]:
    """Return the passwords of the local system, made at its first start."""
    kept = files.read_json(path)
    details = {name: str(kept.get(name) or secrets.token_urlsafe(12)) for name in ("admin", "flower")}
    if details != kept:
        files.write_json(path, details)
    return details
