"""A set of UUIDs that takes 16 to 32 bytes each, for the ids of millions of results."""

from __future__ import annotations

import array
import secrets
import uuid

_WORD = (1 << 64) - 1
_SMALLEST = 1 << 10  # slots; always a power of two


class IdSet:
    """Open addressing over 64 bits of each id: two ids agree in them by chance once in 10^5 sets of ten million."""

    def __init__(self) -> None:
        self._slots = array.array("Q", bytes(8 * _SMALLEST))
        self._count = 0
        self._factor = secrets.randbits(64) | 1  # so that nobody can choose ids that meet in one place

    def __len__(self) -> int:
        return self._count

    def add(self, one: uuid.UUID) -> bool:
        """True when it was not there yet."""
        key = self._key(one)
        slots = self._slots
        place = self._find(slots, key)
        if slots[place]:
            return False
        slots[place] = key
        self._count += 1
        if self._count * 2 > len(slots):
            self._grow()
        return True

    def __contains__(self, one: uuid.UUID) -> bool:
        return self._slots[self._find(self._slots, self._key(one))] != 0

    def _key(self, one: uuid.UUID) -> int:
        return ((one.int ^ one.int >> 64) * self._factor & _WORD) or 1

    @staticmethod
    def _find(slots: array.array[int], key: int) -> int:
        mask = len(slots) - 1
        place = (key >> 20) & mask
        while slots[place] not in (0, key):
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        slots = array.array("Q", bytes(16 * len(self._slots)))
        for key in self._slots:
            if key:
                slots[self._find(slots, key)] = key
        self._slots = slots
