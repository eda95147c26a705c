"""Logging in with a password."""

from __future__ import annotations

import datetime as dt

import flask

from ibutsu_server.api import access, bodies, schemas
from ibutsu_server.api.blueprint import api
from ibutsu_server.store import accounts


@api.post("/login")
@access.public
def login() -> flask.Response:
    """Exchange an e-mail address and a password for a token; tokens handed out before stay valid."""
    body = bodies.read(schemas.Login)
    session = access.session()
    user = accounts.check_login(session, body.email, body.password)
    if user is None:
        response = flask.jsonify(code="INVALID", message="The e-mail address or the password is wrong.")
        response.status_code = 401
        return response
    expires = dt.datetime.now(dt.UTC) + accounts.LOGIN_LIFETIME
    token = accounts.create_token(session, user, name="login", expires=expires)
    session.commit()
    return flask.jsonify(token=token, name=user.name, email=user.email)


@api.get("/login/support")
@access.public
def support() -> flask.Response:
    """Say how people can log in."""
    return flask.jsonify(user=True, keycloak=False, google=False, github=False, facebook=False, gitlab=False)
