"""Batches find the size that takes the wanted time, and step back from others."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ibutsu_core.pacing import LARGEST, LIMIT, LONGEST_PAUSE, SMALLEST, TARGET, Pace

paces = st.builds(Pace, st.integers(SMALLEST, LARGEST), st.integers(0, 40))
seconds = st.floats(0, 1000)


@given(paces, st.integers(0, LARGEST), seconds)
def test_a_size_stays_within_its_bounds_and_within_a_step(pace: Pace, rows: int, took: float) -> None:
    after = pace.after(rows, took)
    assert SMALLEST <= after.size <= LARGEST
    assert pace.size // 2 <= after.size <= pace.size * 2
    assert after.failures == 0
    if rows < pace.size:
        assert after.size <= pace.size, "A batch that was not full tells nothing of larger ones."


@given(st.floats(1e-7, 0.05), st.floats(0, 0.04), paces)
@example(1 / 64, 0.039, Pace(1))
def test_the_size_finds_the_time_that_is_wanted(per_row: float, per_batch: float, pace: Pace) -> None:
    """Whatever a row costs: after a while a batch takes about the target, or one row, or as many as are allowed."""
    for _ in range(40):
        pace = pace.after(pace.size, per_batch + per_row * pace.size)
    took = per_batch + per_row * pace.size
    rounding = per_row
    assert took <= TARGET + rounding or pace.size == SMALLEST
    assert took >= TARGET - 2 * rounding - 1e-6 or pace.size == LARGEST or per_row > TARGET / 4


@given(paces)
def test_a_failure_halves_the_batch_and_waits_for_longer(pace: Pace) -> None:
    after = pace.after_failure()
    assert (after.size, after.failures) == (max(pace.size // 2, SMALLEST), pace.failures + 1)
    assert pace.pause(0.0) <= after.pause(0.0)
    assert 0 < after.pause(0.0) <= after.pause(0.999) <= LONGEST_PAUSE


@given(paces)
def test_nobody_waits_for_longer_than_is_allowed_but_for_a_row_that_cannot_be_divided(pace: Pace) -> None:
    assert pace.limit == LIMIT or pace.size == SMALLEST
    stuck = Pace(SMALLEST, 3)
    assert stuck.after_failure().limit == 2 * stuck.limit


@pytest.mark.parametrize("draw", [0.0, 0.5])
def test_without_a_failure_there_is_no_pause(draw: float) -> None:
    assert Pace(5).pause(draw) == 0
