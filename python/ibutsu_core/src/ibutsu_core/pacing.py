"""How many rows the next batch takes, so that each lasts about as long as is wanted, whatever the rows cost."""

from __future__ import annotations

import dataclasses

TARGET = 0.1
"""Seconds that a batch is to take."""

LIMIT = 0.18
"""Seconds after which a batch is given up, so that nobody waits for its locks for longer than 0.2."""

SMALLEST = 1
LARGEST = 20_000
"""Rows of a batch."""

STEP = 2.0
"""How many times as large, or as small, as the last one a batch is at most."""

SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 10.0
"""Seconds to wait after a batch that was given up: doubled with each in a row."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """The size of the next batch, in rows; `failures` is how many in a row were given up before it."""

    size: int = 200
    failures: int = 0

    def after(self, rows: int, seconds: float) -> Pace:
        """Return the pace after a batch of so many rows that was done in so many seconds.

        A batch that was not full, because there were no more rows, tells nothing of larger ones.
        """
        wanted = TARGET / max(seconds, 1e-6)
        factor = min(max(wanted, 1 / STEP), STEP)
        if factor > 1 and rows < self.size:
            factor = 1.0
        return Pace(min(max(round(self.size * factor), SMALLEST), LARGEST))

    def after_failure(self) -> Pace:
        """Return the pace after a batch that was given up, because it took too long or others had its rows."""
        return Pace(max(int(self.size / STEP), SMALLEST), self.failures + 1)

    @property
    def limit(self) -> float:
        """Seconds that the next batch may take. One row cannot be divided, so it gets more time with each failure."""
        if self.size > SMALLEST:
            return LIMIT
        return LIMIT * float(STEP ** min(self.failures, 16))

    def pause(self, draw: float) -> float:
        """Return the seconds to wait before the next batch: none unless one was given up.

        `draw`, from 0 up to 1, is half of it, so that two that met do not meet again.
        """
        if not self.failures:
            return 0.0
        longest = min(SHORTEST_PAUSE * float(2 ** min(self.failures - 1, 16)), LONGEST_PAUSE)
        return longest * (0.5 + draw / 2)
