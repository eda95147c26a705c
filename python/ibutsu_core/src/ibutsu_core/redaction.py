"""Hiding secrets in what people and programs read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

HIDDEN = "********"

ANYWHERE = 8
"""Characters of a secret that is hidden wherever it stands. A shorter one could be part of an ordinary word."""

AS_A_WORD = 4
"""Characters of a secret that is hidden where no word goes on beside it. A shorter one is only in a URL, or a pair."""


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return what puts `HIDDEN` in the place of each of these texts, the longest first."""
    found = [_pattern(secret) for secret in sorted(set(secrets), key=lambda one: (-len(one), one)) if secret]
    if not found:
        return str
    pattern = re.compile("|".join(found))
    return lambda text: pattern.sub(HIDDEN, text)


def _pattern(secret: str) -> str:
    text = re.escape(secret)
    if len(secret) >= ANYWHERE:
        return text
    if len(secret) < AS_A_WORD:
        return f"(?<=:){text}(?=@)"
    before = r"(?<!\w)" if re.match(r"\w", secret) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", secret) else ""
    return f"{before}{text}{after}"
