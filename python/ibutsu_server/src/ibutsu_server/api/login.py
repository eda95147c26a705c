"""Logging in with a password, and why there is no other way: the server sends no mail and has no OAuth provider.

What would need mail is refused alike for everybody, so that no answer tells whether an account exists.
"""

from __future__ import annotations

import datetime as dt

import flask
from werkzeug.exceptions import BadRequest, Forbidden, NotFound, TooManyRequests

from ibutsu_server.api import access, answers, schemas
from ibutsu_server.api.attempts import attempts
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store import accounts


@api.post("/login")
@operation(body=schemas.Login, answers={200: schemas.LoginToken, 401: schemas.LoginRefusal}, errors=(429,), public=True)
def login(body: schemas.Login) -> flask.Response:
    """Exchange an e-mail address and a password for a token; tokens handed out before stay valid.

    After too many failed logins with the address, or from the same client, both right and wrong passwords answer 429.
    """
    session, address = access.session(), flask.request.remote_addr
    _require_patience(body.email, address)
    user = accounts.check_login(session, body.email, body.password)
    if user is None:
        session.rollback()
        if not attempts().failed(body.email, address):
            _require_patience(body.email, address)
        refusal = schemas.LoginRefusal(code="INVALID", message="The e-mail address or the password is wrong.")
        return answers.one(refusal, 401)
    # Of many guesses that were made at once, no more than the limit learn whether they are right.
    _require_patience(body.email, address)
    expires = dt.datetime.now(dt.UTC) + accounts.LOGIN_LIFETIME
    token = accounts.create_token(session, user, name="login", expires=expires)
    session.commit()
    attempts().succeeded(body.email)
    return answers.one(schemas.LoginToken(token=token, name=user.name, email=user.email))


@api.get("/login/support")
@operation(answers={200: schemas.LoginSupport}, public=True, database=False)
def support() -> flask.Response:
    """Say how people can log in."""
    return answers.one(
        schemas.LoginSupport(user=True, keycloak=False, google=False, github=False, facebook=False, gitlab=False)
    )


@api.get("/login/config/<provider>")
@operation(answers={}, errors=(404,), public=True, database=False)
def config(provider: str) -> flask.Response:
    """Say that the OAuth provider is not configured: this server has none."""
    raise NotFound(f"The login provider {provider[:80]!r} is not configured.")


@api.get("/login/auth/<provider>")
@operation(answers={}, errors=(404,), public=True, database=False)
def auth(provider: str) -> flask.Response:
    """Say that the OAuth provider is not configured: this server has none."""
    raise NotFound(f"The login provider {provider[:80]!r} is not configured.")


@api.post("/login/register")
@operation(body=schemas.Registration, answers={}, errors=(403,), public=True, database=False)
def register(body: schemas.Registration) -> flask.Response:
    """Refuse, whoever asks: administrators make the accounts."""
    raise Forbidden("Accounts are made by an administrator; ask one.")


@api.post("/login/recover")
@operation(body=schemas.Recovery, answers={}, errors=(403,), public=True, database=False)
def recover(body: schemas.Recovery) -> flask.Response:
    """Refuse, whoever asks: the server sends no mail, and administrators set new passwords."""
    raise Forbidden("This server sends no mail; ask an administrator for a new password.")


@api.post("/login/reset-password")
@operation(body=schemas.PasswordReset, answers={}, public=True, database=False)
def reset_password(body: schemas.PasswordReset) -> flask.Response:
    """Refuse every code: none is ever sent."""
    raise BadRequest("The code is not valid; ask an administrator for a new password.")


@api.get("/login/activate/<code>")
@operation(answers={}, errors=(404,), public=True, database=False)
def activate(code: str) -> flask.Response:
    """Refuse every code: accounts are active when an administrator makes them."""
    raise NotFound("The code is not valid; ask an administrator for an account.")


def _require_patience(email: str, address: str | None) -> None:
    if seconds := attempts().wait(email, address):
        raise TooManyRequests(f"Too many logins failed; try again in {seconds} seconds.", retry_after=seconds)
