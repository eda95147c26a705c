"""Logging in, users and their tokens."""

from __future__ import annotations

import uuid

from ibutsu_server.api.schemas.common import Email, Flag, In, Instant, Name, Out, Pagination, Password, Text


class Login(In):
    """The body of `POST /login`."""

    email: Text
    password: Text


class LoginToken(Out):
    """What a login gives."""

    token: str
    name: str | None
    email: str


class LoginRefusal(Out):
    """Why a login is refused."""

    code: str
    message: str


class LoginSupport(Out):
    """How people can log in."""

    user: bool
    keycloak: bool
    google: bool
    github: bool
    facebook: bool
    gitlab: bool


class Registration(In):
    """The body of `POST /login/register`."""

    email: Text
    password: Text


class Recovery(In):
    """The body of `POST /login/recover`."""

    email: Text


class PasswordReset(In):
    """The body of `POST /login/reset-password`."""

    activation_code: Text
    password: Text


class User(Out):
    """A user, without what is secret."""

    id: uuid.UUID
    email: str
    name: str | None
    is_superadmin: bool
    is_active: bool
    group_id: uuid.UUID | None


class UserIn(In):
    """What users may change of themselves."""

    name: Name | None = None
    email: Name | None = None


class AdminUserIn(In):
    """A user as an administrator sends it; all is optional in an update."""

    email: Email | None = None
    password: Password | None = None
    name: Name | None = None
    is_superadmin: Flag | None = None
    is_active: Flag | None = None
    group_id: uuid.UUID | None = None


class Users(Out):
    """A page of users."""

    users: list[User]
    pagination: Pagination


class Token(Out):
    """An API token, with its bearer text."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    token: str
    expires: Instant


class TokenIn(In):
    """The body of `POST /user/token`."""

    name: Name
    expires: Instant | None = None


class Tokens(Out):
    """A page of tokens."""

    tokens: list[Token]
    pagination: Pagination
