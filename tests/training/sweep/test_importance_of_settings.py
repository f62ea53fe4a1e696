"""How much of an objective each varied field explains: eta squared by hand, and what chance alone would explain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.sweep.importance import eta_squared, importance


def test_eta_squared_by_hand() -> None:
    """Groups (1, 3) and (5, 7): means 2 and 6 around 4, so 16 between of 20 in all."""
    assert eta_squared(np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 5.0, 7.0])) == pytest.approx(0.8)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-100, 100)), min_size=1, max_size=30), st.floats(-5, 5),
       st.floats(0.1, 9))
def test_it_is_a_share_that_no_shift_and_no_scale_changes(
        runs: list[tuple[int, float]], shift: float, scale: float) -> None:
    groups, values = np.array([group for group, _ in runs]), np.array([value for _, value in runs])
    share = eta_squared(groups, values)
    assert -1e-9 <= share <= 1 + 1e-9
    if values.std() > 1e-3:
        assert eta_squared(groups, scale * values + shift) == pytest.approx(share, abs=1e-6)


def test_a_field_that_decides_is_beyond_chance_and_its_interval_holds_it() -> None:
    found = importance(["a", "b"] * 6, [0.1, 0.9, 0.15, 0.85, 0.2, 0.8] * 2)
    assert found.explained is not None and found.explained > 0.9 and found.is_beyond_chance
    assert found.low <= found.explained <= found.high


def test_a_field_that_does_nothing_is_beyond_chance_one_time_in_twenty() -> None:
    generator = np.random.default_rng(3)
    beyond = sum(importance([0, 1, 2] * 6, generator.normal(size=18).tolist(), draws=200).is_beyond_chance
                 for _ in range(100))
    assert beyond <= 12


@pytest.mark.parametrize(("chosen", "why"), [
    ([1, 1, 1, 1, 1], "one value"), ([1, 2, 3, 4], "too few runs"), ([1, 1, 1, 1, 2], "too few runs")])
def test_too_few_runs_say_nothing(chosen: list[int], why: str) -> None:
    found = importance(chosen, [float(place) for place in range(len(chosen))])
    assert found.explained is None and why in found.why and not found.is_beyond_chance


def test_numbers_that_hardly_repeat_are_cut_into_three_groups() -> None:
    """Nine draws whose objective is their third: 0, 0, 0, 1, 1, 1, 2, 2, 2."""
    draws = [0.01 * (place + 1) ** 2 for place in range(9)]
    found = importance(draws, [place // 3 for place in range(9)])
    assert found.cut and found.levels == 3 and found.explained == pytest.approx(1.0)
