"""The system user that PostgreSQL runs as when root starts it, and its way to the files that it needs."""

from __future__ import annotations

import dataclasses
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ibutsu_server.embedded.errors import EmbeddedError

NAME = "ibutsu-postgres"


@dataclasses.dataclass(frozen=True, slots=True)
class SystemUser:
    """A user of this machine, by number."""

    name: str
    uid: int
    gid: int


def required() -> SystemUser | None:
    """Return the user that PostgreSQL has to run as, made where it lacks; None when this process is not root's."""
    if os.geteuid() != 0:
        return None
    user = _find()
    if user is None:
        reason = _create()
        user = _find()
        if user is None:
            raise EmbeddedError(
                f"PostgreSQL refuses to run as root, and its own user {NAME!r} could not be made: {reason}. "
                f"Make the user (useradd --system {NAME}), or start as a user that is not root."
            )
    return user


def _find() -> SystemUser | None:
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        return None
    return SystemUser(NAME, entry.pw_uid, entry.pw_gid)


def _create() -> str:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", NAME]
    reason = ""
    for _ in range(10):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"useradd cannot be run ({error})"
        reason = done.stderr.strip() or f"useradd ended with exit code {done.returncode}"
        if done.returncode == 0 or _find():
            break
        time.sleep(0.2)  # Another useradd holds the lock of the password file.
    return reason


def open_way(user: SystemUser, path: Path, say: Callable[[str], None], *, own: Path | None = None) -> None:
    """Let the user reach `path`: add the permission to traverse where one of its parents lacks it.

    `own` and what is below it is ours and stays closed to all others; of a foreign directory it is said.
    """
    for parent in reversed(path.parents):
        status = parent.stat()
        if _traversable(status, user):
            continue
        mode = stat.S_IMODE(status.st_mode)
        try:
            if own and parent.is_relative_to(own):
                os.chown(parent, -1, user.gid)
                parent.chmod(mode | stat.S_IXGRP)
            else:
                parent.chmod(mode | stat.S_IXOTH)
                say(f"{parent} may now be traversed by all users, for PostgreSQL's user {user.name} has to.")
        except OSError as error:
            raise EmbeddedError(
                f"PostgreSQL's user {user.name} cannot traverse {parent}, and that cannot be changed "
                f"({error.strerror}). Choose a place that other users can reach with --data-dir."
            ) from error
        if not _traversable(parent.stat(), user):
            raise EmbeddedError(
                f"PostgreSQL's user {user.name} cannot traverse {parent}: its file system ignores permissions. "
                "Choose another place with --data-dir."
            )


def open_tree(user: SystemUser, tree: Path, say: Callable[[str], None]) -> None:
    """Let the user read the programs below `tree`, which a strict umask may have kept from it."""
    open_way(user, tree, say)
    entries = (tree, tree / "bin" / "postgres", tree / "lib", tree / "share")
    if all(_readable(entry.stat(), user) for entry in entries if entry.exists()):
        return
    try:
        for entry in (tree, *tree.rglob("*")):
            if entry.is_symlink():
                continue
            mode = stat.S_IMODE(entry.stat().st_mode)
            entry.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
    except OSError as error:
        raise EmbeddedError(
            f"PostgreSQL's user {user.name} cannot read {tree}, and that cannot be changed ({error.strerror})."
        ) from error
    say(f"{tree} may now be read by all users, for PostgreSQL's user {user.name} has to.")


def _bits(status: os.stat_result, user: SystemUser) -> int:
    if status.st_uid == user.uid:
        return status.st_mode >> 6 & 7
    if status.st_gid == user.gid:
        return status.st_mode >> 3 & 7
    return status.st_mode & 7


def _traversable(status: os.stat_result, user: SystemUser) -> bool:
    return bool(_bits(status, user) & 1)


def _readable(status: os.stat_result, user: SystemUser) -> bool:
    return _bits(status, user) & 5 == 5
