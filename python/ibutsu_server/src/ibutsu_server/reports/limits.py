"""What one upload may cost; see `ibutsu_core.limits`."""

from ibutsu_core.limits import GIB, KIB, MIB, Limits

__all__ = ["GIB", "KIB", "MIB", "Limits"]
