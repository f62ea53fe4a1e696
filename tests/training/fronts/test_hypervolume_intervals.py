"""How sure a hypervolume is: the bootstrap over prompts."""

from __future__ import annotations

import numpy as np
import pytest

from training.fronts.bootstrap import Interval, Sample, hypervolume_interval
from training.fronts.dominance import Direction
from training.quality.intervals import mean_interval

UP: list[Direction] = ["higher"]
BOTH: list[Direction] = ["higher", "higher"]


def wins(*columns: list[float], prompts: str = "held out") -> Sample:
    return Sample(np.array(columns, dtype=float).T, prompts)


def test_of_one_objective_it_is_the_interval_of_the_mean() -> None:
    outcomes = [1.0] * 60 + [0.0] * 40
    interval = hypervolume_interval([wins(outcomes)], [0.0], UP, draws=4000)
    assert interval.value == pytest.approx(0.6)
    _, low, high = mean_interval(outcomes)
    assert interval.low == pytest.approx(low, abs=0.015) and interval.high == pytest.approx(high, abs=0.015)


def test_outcomes_that_are_all_equal_leave_no_doubt() -> None:
    interval = hypervolume_interval([wins([1.0] * 9, [0.5] * 9)], [0.0, 0.0], BOTH)
    assert interval == Interval(0.5, pytest.approx(0.5), pytest.approx(0.5))


def test_four_times_the_prompts_halve_it() -> None:
    few = hypervolume_interval([wins([1.0, 0.0] * 50)], [0.0], UP)
    many = hypervolume_interval([wins([1.0, 0.0] * 200)], [0.0], UP)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2.0, rel=0.15)


def test_points_that_answered_the_same_prompts_are_drawn_together() -> None:
    """Where one policy wins the other one loses: of two that are drawn together the area a × b stays near 1/4, since
    the second rate is one minus the first. Drawn apart both may be high at once."""
    first, second = [1.0] * 50 + [0.0] * 50, [0.0] * 50 + [1.0] * 50
    together = hypervolume_interval([wins(first, second)], [0.0, 0.0], BOTH)
    assert together.value == pytest.approx(0.25) and together.high <= 0.25 + 1e-9

    def width(other: str) -> float:
        best_of_two = [wins(first), wins(second, prompts=other)]
        interval = hypervolume_interval(best_of_two, [0.0], UP, draws=2000)
        return interval.high - interval.low
    assert width("held out") < width("other prompts")


def test_a_prompt_without_a_verdict_is_not_counted() -> None:
    nothing = float("nan")
    interval = hypervolume_interval([wins([1.0, nothing] * 30)], [0.0], UP)
    assert interval == Interval(1.0, pytest.approx(1.0), pytest.approx(1.0))
    assert hypervolume_interval([wins([nothing] * 3)], [0.0], UP).value == 0.5


def test_the_interval_holds_the_value_though_the_best_of_many_looks_too_good() -> None:
    """Twenty policies of equal strength: the plain percentiles lie above what was seen."""
    chance = np.random.default_rng(1)
    samples = [wins(list(chance.integers(0, 2, 100))) for _ in range(20)]
    interval = hypervolume_interval(samples, [0.0], UP)
    assert interval.low <= interval.value <= interval.high


def test_the_order_of_points_changes_nothing_and_no_point_has_no_volume() -> None:
    samples = [wins([1.0, 0.0, 1.0], prompts="b"), wins([0.0, 0.5, 1.0, 1.0], prompts="a")]
    assert hypervolume_interval(samples, [0.0], UP) == hypervolume_interval(samples[::-1], [0.0], UP)
    assert hypervolume_interval([], [0.0], UP) == Interval(0.0, 0.0, 0.0)
