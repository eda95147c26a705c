"""Users, their passwords, and their tokens: JWTs that are worth nothing without their row."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from typing import Any

import jwt
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.orm import Session

from ibutsu_server.store import projects
from ibutsu_server.store.models import SigningKey, Token, User

ALGORITHM = "HS256"
LOGIN_LIFETIME = dt.timedelta(days=30)
TOKEN_LIFETIME = dt.timedelta(days=3650)

_hasher = PasswordHasher()
# Each check takes 64 MB for a moment, and anybody may ask for one.
_at_once = threading.BoundedSemaphore(2)
# Checked where no account or password exists, so that the answer takes as long.
_nobody = _hasher.hash(uuid.uuid4().hex)


def hash_password(password: str) -> str:
    """Return the argon2 hash of the password."""
    return _hasher.hash(password)


def check_login(session: Session, email: str, password: str) -> User | None:
    """Return the active user with this address and password, or None; takes as long either way."""
    user = session.scalar(sa.select(User).where(User.email == email.lower()))
    stored = user.password_hash if user and user.password_hash else _nobody
    try:
        with _at_once:
            _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return None
    return user if user and user.is_active and user.password_hash else None


def ensure_user(
    session: Session, *, email: str, password: str | None = None, name: str | None = None, is_superadmin: bool = False
) -> User:
    """Return the user with this address, made where it lacks; a given password replaces the old one."""
    user = session.scalar(sa.select(User).where(User.email == email.lower()))
    if user is None:
        user = User(email=email.lower(), name=name or email.partition("@")[0])
        session.add(user)
        session.flush()
        projects.accept_invitations(session, user)
    if is_superadmin:
        user.is_superadmin = True
    if password is not None:
        user.password_hash = hash_password(password)
    session.flush()
    return user


def create_token(session: Session, user: User, *, name: str, expires: dt.datetime | None = None) -> str:
    """Store a token and return its bearer text; without `expires` it lives ten years."""
    expires = expires or dt.datetime.now(dt.UTC) + TOKEN_LIFETIME
    token = Token(id=uuid.uuid4(), user_id=user.id, name=name, expires=expires.replace(microsecond=0))
    session.add(token)
    session.flush()
    return bearer(session, token)


def delete_tokens(session: Session, user: User, *, name: str) -> None:
    """Delete the user's tokens of that name: from the commit on they answer 401."""
    session.execute(sa.delete(Token).where(Token.user_id == user.id, Token.name == name))


def bearer(session: Session, token: Token) -> str:
    """Return the token's JWT: the same text every time, so that it need not be stored."""
    claims = {"jti": str(token.id), "sub": str(token.user_id), "exp": int(token.expires.timestamp())}
    return jwt.encode(claims, _key(session), algorithm=ALGORITHM)


def user_of_bearer(session: Session, text: str) -> User | None:
    """Return the active user whom the bearer text stands for, or None if it is not valid, for whatever reason."""
    try:
        claims: dict[str, Any] = jwt.decode(
            text, _key(session), algorithms=[ALGORITHM], options={"require": ["exp", "sub", "jti"]}
        )
        token_id = uuid.UUID(claims["jti"])
    except (jwt.InvalidTokenError, ValueError, TypeError):
        return None
    return session.scalar(
        sa.select(User)
        .join(Token, Token.user_id == User.id)
        .where(Token.id == token_id, Token.expires > sa.func.now(), User.is_active)
    )


def _key(session: Session) -> str:
    key = session.scalar(sa.select(SigningKey.key).order_by(SigningKey.id.desc()).limit(1))
    if key is None:
        raise RuntimeError("The database holds no signing key: run `ibutsu db upgrade`.")
    return key
