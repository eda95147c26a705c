"""Failed logins, counted by account and by client address in Redis, which all processes of the API share.

While Redis is away each process counts on its own: nobody is locked out for that, and guessing stays limited. Whether
an account exists plays no part, and an account that is guessed at is shut to the right password too, for a while.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar, cast

import flask
import redis
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from ibutsu_core.limits import LoginLimits

logger = logging.getLogger(__name__)

EXTENSION = "ibutsu_login_attempts"

PREFIX = "ibutsu-login"
"""What the counters' keys in Redis begin with."""

TIMEOUT = 1
"""Seconds to wait for Redis."""

PAUSE = 5
"""Seconds that Redis is not asked again after it was away."""

Answer = TypeVar("Answer")


class Attempts:
    """Counts failed logins."""

    def __init__(self, url: str, limits: LoginLimits) -> None:
        self._account = RateLimitItemPerSecond(limits.max_account_failures, limits.window, "account")
        self._address = RateLimitItemPerSecond(limits.max_address_failures, limits.window, "address")
        options: dict[str, object] = {
            "socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0),
        }  # fmt: skip
        self._shared = MovingWindowRateLimiter(RedisStorage(url, key_prefix=PREFIX, **options))  # type: ignore[arg-type]
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0

    def wait(self, email: str, address: str | None) -> int:
        """Return the seconds until another login is tried, 0 where it is now."""
        return max(self._ask(_wait, item, key) for item, key in self._counters(email, address))

    def failed(self, email: str, address: str | None) -> bool:
        """Count a failed login; return whether it was within the limits, as all but those tried at once are."""
        counted = [self._ask(MovingWindowRateLimiter.hit, item, key) for item, key in self._counters(email, address)]
        return all(counted)

    def succeeded(self, email: str) -> None:
        """Forget the account's failures; those of the address stay, for it may guess at other accounts too."""
        self._ask(MovingWindowRateLimiter.clear, self._account, _digest(email))

    def _counters(self, email: str, address: str | None) -> list[tuple[RateLimitItem, str]]:
        counters: list[tuple[RateLimitItem, str]] = [(self._account, _digest(email))]
        # Behind a socket of the file system all clients have the same empty address.
        if address:
            counters.append((self._address, network(address)))
        return counters

    def _ask(
        self, question: Callable[[MovingWindowRateLimiter, RateLimitItem, str], Answer], item: RateLimitItem, key: str
    ) -> Answer:
        if time.monotonic() >= self._away_until:
            try:
                return question(self._shared, item, key)
            except (redis.RedisError, OSError) as error:
                self._away_until = time.monotonic() + PAUSE
                logger.warning("Redis is away, so this process counts failed logins on its own: %s", error)
        return question(self._own, item, key)


def attempts() -> Attempts:
    """Return the application's counters."""
    return cast("Attempts", flask.current_app.extensions[EXTENSION])


def network(address: str) -> str:
    """Return what of a client's address counts: an IPv4 address, or the /64 of an IPv6 one, which has one owner."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _digest(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _wait(limiter: MovingWindowRateLimiter, item: RateLimitItem, key: str) -> int:
    reset, remaining = limiter.get_window_stats(item, key)
    return 0 if remaining > 0 else max(1, math.ceil(reset - time.time()))


def _digest(text: str) -> str:
    """Return a key that has no characters of its own, is short, and shows nobody's address."""
    return hashlib.sha256(text.lower().encode()).hexdigest()
