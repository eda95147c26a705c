"""`ibutsu token` and `ibutsu db`: what an operator does with the database itself."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from sqlalchemy import exc
from sqlalchemy.orm import Session

from ibutsu_core.settings import DatabaseSettings, SettingsError, load_database
from ibutsu_server.client.access import ClientError, find_local
from ibutsu_server.store import accounts, migrate, schema
from ibutsu_server.store.database import create_engine

_UNDEFINED_TABLE = "42P01"

PAUSE = 2.0
"""Seconds between two looks at a database that is waited for."""


@click.group()
def token() -> None:
    """Make API tokens."""


@token.command()
@click.option("--email", required=True, help="Whose token it is; the user is made where there is none.")
@click.option("--name", default="ibutsu token create", show_default=True, help="What the token is called in lists.")
@click.option("--superadmin", is_flag=True, help="Make the user a superadmin, who may see and change everything.")
@click.option("--expires", type=click.IntRange(1, 36500), metavar="DAYS", help="Days that it lives; else ten years.")
def create(email: str, name: str, superadmin: bool, expires: int | None) -> None:
    """Make a token and print it, and nothing else."""
    local, _, domain = email.partition("@")
    if not local or not domain or any(character.isspace() or character == "\x00" for character in email):
        raise click.BadParameter(f"{email!r} is not an e-mail address.", param_hint="--email")
    with database() as settings, admin_session(settings) as session:
        user = accounts.ensure_user(session, email=email, is_superadmin=superadmin)
        if not user.is_active:
            raise click.ClickException(f"The user {email} is not active, so a token would not be accepted.")
        until = dt.datetime.now(dt.UTC) + dt.timedelta(days=expires) if expires else None
        text = accounts.create_token(session, user, name=name, expires=until)
        session.commit()
    click.echo(text)


@click.group()
def db() -> None:
    """Look after the database's schema."""


@db.command()
@click.option("--wait", default=0, type=click.IntRange(0, 86400), metavar="SECONDS", help="Wait for the database.")
def upgrade(wait: int) -> None:
    """Bring the schema to what this version expects; does nothing where it is there, or newer."""
    settings = database_settings()
    before = _waited_for(settings, wait)
    if _is_newer(before):
        click.echo(f"The schema is {_called(before)}, which a newer version made; it is left as it is.")
        return
    with _refusals(settings):
        migrate.upgrade(settings)
        after = _revision(settings)
    click.echo(f"The schema is at {after}" + (", as it was." if before == after else f"; it was {_called(before)}."))


@db.command()
@click.option("--timeout", default=600, show_default=True, type=click.IntRange(0, 86400), metavar="SECONDS")
def wait(timeout: int) -> None:
    """Wait until the schema is what this version expects, or newer; processes start after it."""
    settings = database_settings()
    revision = _waited_for(settings, timeout, schema.difference)
    newer = f"; this version expects {migrate.head()}, and a newer one made it" if _is_newer(revision) else ""
    click.echo(f"The schema is {_called(revision)}{newer}.")


@db.command()
def current() -> None:
    """Say which revision the schema has, and which one this version expects."""
    with database() as settings:
        revision = _revision(settings)
    click.echo(f"The schema is {_called(revision)}; this version expects {migrate.head()}.")


def database_settings() -> DatabaseSettings:
    """Read where PostgreSQL is: from the environment, else from the local system that runs; raise ClickException."""
    try:
        if not any(name.startswith("POSTGRESQL_") for name in os.environ):
            local = find_local(Path.cwd())
            found = local[1].get("database") if local else None
            if isinstance(found, dict):
                return DatabaseSettings(**{key: found[key] for key in ("host", "port", "user", "password", "database")})
        return load_database(os.environ, read_file=lambda path: Path(path).read_text("utf-8"))
    except (SettingsError, ClientError) as error:
        raise click.ClickException(str(error)) from error
    except KeyError as error:
        raise click.ClickException(f"The local system's file lacks the database's {error}.") from error


@contextlib.contextmanager
def database() -> Iterator[DatabaseSettings]:
    """Give the settings, and say as `_refusals` what the database refuses."""
    settings = database_settings()
    with _refusals(settings):
        yield settings


@contextlib.contextmanager
def _refusals(settings: DatabaseSettings) -> Iterator[None]:
    """What the database refuses becomes a sentence without the driver's text, which has secrets."""
    try:
        yield
    except exc.DBAPIError as error:
        state = getattr(error.orig, "pgcode", None)
        if state == _UNDEFINED_TABLE:
            raise click.ClickException("The database has no schema yet; run `ibutsu db upgrade` first.") from error
        if state is not None or not isinstance(error, exc.OperationalError):
            raise
        text = str(error.orig)
        place = f"PostgreSQL at {settings.host}:{settings.port}"
        if "authentication failed" in text:
            sentence = f"{place} refuses the user or the password; check POSTGRESQL_USER and POSTGRESQL_PASSWORD."
        elif "does not exist" in text:
            sentence = f"{place} has no such database or user; check POSTGRESQL_DATABASE and POSTGRESQL_USER."
        else:
            sentence = f"{place} does not answer; check POSTGRESQL_HOST and POSTGRESQL_PORT, and that it runs."
        raise click.ClickException(sentence) from error


@contextlib.contextmanager
def admin_session(settings: DatabaseSettings) -> Iterator[Session]:
    """Give a session, which is not committed."""
    engine = create_engine(settings, application="ibutsu-admin", pool_size=1)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def _waited_for(
    settings: DatabaseSettings, seconds: int, check: Callable[[str | None], str | None] = lambda _: None
) -> str | None:
    """Return the database's revision as soon as `check` finds nothing wrong with it; raise ClickException if too late.

    What is waited for is said when it is another than before.
    """
    deadline = time.monotonic() + seconds
    said = None
    while True:
        try:
            with _refusals(settings):
                revision = _revision(settings)
            lacking = check(revision)
            if lacking is None:
                return revision
        except click.ClickException as error:
            lacking = error.message
        if time.monotonic() >= deadline:
            raise click.ClickException(lacking + (f" {seconds} s were waited for it." if seconds else ""))
        if lacking != said:
            said = lacking
            click.echo(f"{lacking} Waiting.", err=True)
        time.sleep(PAUSE)


def _is_newer(revision: str | None) -> bool:
    return revision is not None and revision > schema.expected()


def _revision(settings: DatabaseSettings) -> str | None:
    with admin_session(settings) as session:
        return migrate.current(session.connection())


def _called(revision: str | None) -> str:
    return f"at {revision}" if revision else "empty"
