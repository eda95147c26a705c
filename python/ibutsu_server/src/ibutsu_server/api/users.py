"""The user who asks, and their API tokens."""

from __future__ import annotations

import datetime as dt
import uuid

import flask
import sqlalchemy as sa
from werkzeug.exceptions import BadRequest, Forbidden

from ibutsu_server.api import access, answers, bodies, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.store import accounts
from ibutsu_server.store.models import Token, User


def serialise(token: Token) -> schemas.Token:
    """Return the token as the contract has it, with its bearer text."""
    return schemas.Token(
        id=token.id,
        user_id=token.user_id,
        name=token.name,
        token=accounts.bearer(access.session(), token),
        expires=token.expires,
    )


@api.get("/user")
def get_user() -> flask.Response:
    """Answer with the user who asks."""
    return answers.one(schemas.User.model_validate(access.user()))


@api.put("/user")
def update_user() -> flask.Response:
    """Change the name or the e-mail address of the user who asks."""
    if not flask.request.get_data():
        raise BadRequest("The body is empty; send a JSON object.")
    body = bodies.read(schemas.UserIn)
    user, session = access.user(), access.session()
    if body.email is not None and body.email.lower() != user.email:
        if session.scalar(sa.select(User.id).where(User.email == body.email.lower())):
            raise BadRequest("The e-mail address is taken.")
        user.email = body.email.lower()
    if body.name is not None:
        user.name = body.name
    session.commit()
    return answers.one(schemas.User.model_validate(user))


@api.post("/user/token")
def add_token() -> flask.Response:
    """Make a token; without `expires` it lives long."""
    body = bodies.read(schemas.TokenIn)
    now = dt.datetime.now(dt.UTC)
    expires = body.expires or now + accounts.TOKEN_LIFETIME
    if expires <= now:
        raise BadRequest("The token would have expired already.")
    session = access.session()
    token = Token(id=uuid.uuid4(), user_id=access.user().id, name=body.name, expires=expires.replace(microsecond=0))
    session.add(token)
    session.commit()
    return answers.one(serialise(token), 201)


@api.get("/user/token")
def get_tokens() -> flask.Response:
    """List the tokens of the user who asks."""
    return answers.page(
        "tokens",
        Token,
        serialise,
        where=[Token.user_id == access.user().id],
        order=[Token.created.desc(), Token.id.desc()],
    )


@api.get("/user/token/<token_id>")
def get_token(token_id: str) -> flask.Response:
    """Answer with one token of the user who asks."""
    return answers.one(serialise(_own(token_id)))


@api.delete("/user/token/<token_id>")
def delete_token(token_id: str) -> flask.Response:
    """Delete the token: from now on it answers 401."""
    access.session().delete(_own(token_id))
    access.session().commit()
    return flask.jsonify(message="The token is deleted.")


def _own(token_id: str) -> Token:
    token = access.find(Token, token_id, "token")
    if token.user_id != access.user().id:
        raise Forbidden("The token is another user's.")
    return token
