"""The user who asks, and their API tokens."""

from __future__ import annotations

import datetime as dt
import uuid

import flask
from werkzeug.exceptions import BadRequest, Forbidden

from ibutsu_server.api import access, answers, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.api.operations import operation
from ibutsu_server.store import accounts
from ibutsu_server.store.models import Token


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
@operation(answers={200: schemas.User})
def get_user() -> flask.Response:
    """Answer with the user who asks."""
    return answers.one(schemas.User.model_validate(access.user()))


@api.put("/user")
@operation(body=schemas.UserIn, answers={200: schemas.User}, errors=(403,))
def update_user(body: schemas.UserIn) -> flask.Response:
    """Change the name of the user who asks."""
    user = access.user()
    # Nobody has shown that the address is theirs, and "it is taken" would tell who has an account.
    if body.email is not None and body.email.lower() != user.email:
        raise Forbidden("An e-mail address is changed by an administrator; ask one.")
    if body.name is not None:
        user.name = body.name
    access.session().commit()
    return answers.one(schemas.User.model_validate(user))


@api.post("/user/token")
@operation(body=schemas.TokenIn, answers={201: schemas.Token})
def add_token(body: schemas.TokenIn) -> flask.Response:
    """Make a token; without `expires` it lives long."""
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
@operation(query=schemas.PageQuery, answers={200: schemas.Tokens})
def get_tokens(query: schemas.PageQuery) -> flask.Response:
    """List the tokens of the user who asks."""
    return answers.page(
        "tokens",
        Token,
        serialise,
        query,
        where=[Token.user_id == access.user().id],
        order=[Token.created.desc(), Token.id.desc()],
    )


@api.get("/user/token/<token_id>")
@operation(answers={200: schemas.Token}, errors=(403, 404))
def get_token(token_id: str) -> flask.Response:
    """Answer with one token of the user who asks."""
    return answers.one(serialise(_own(token_id)))


@api.delete("/user/token/<token_id>")
@operation(answers={200: schemas.Message}, errors=(403, 404))
def delete_token(token_id: str) -> flask.Response:
    """Delete the token: from now on it answers 401."""
    access.session().delete(_own(token_id))
    access.session().commit()
    return answers.message("The token is deleted.")


def _own(token_id: str) -> Token:
    token = access.find(Token, token_id, "token")
    if token.user_id != access.user().id:
        raise Forbidden("The token is another user's.")
    return token
