"""Figures as people read them."""

from __future__ import annotations


def span(seconds: float) -> str:
    """Return a time in its largest fitting unit, rounded down: "45 s", "12 min", "3 h", "2 d"."""
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"


def mebibytes(size: int) -> str:
    """Return a size: "12.3 MiB", "4.0 GiB"."""
    mebi = size / 2**20
    return f"{mebi:.1f} MiB" if mebi < 1024 else f"{mebi / 1024:.1f} GiB"
