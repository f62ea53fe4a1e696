"""How sure a hypervolume is: the bootstrap over prompts."""

from __future__ import annotations

import numpy as np
import pytest

from training.fronts.bootstrap import Interval, Sample, hypervolume_gain_interval, hypervolume_interval
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


def test_it_is_mirrored_at_the_value() -> None:
    """One win on three prompts: a draw has 0, 1, 2 or 3 wins in 8, 12, 6 and 1 of 27 cases, so that its percentiles are
    0 and 1; the value 1/3 mirrors them to 2/3 and below zero, where no volume is."""
    interval = hypervolume_interval([wins([1.0, 0.0, 0.0])], [0.0], UP, draws=4000)
    assert interval == pytest.approx((1 / 3, 0.0, 2 / 3))


def test_points_that_answered_the_same_prompts_are_drawn_together() -> None:
    """Two policies that win on the same prompts: drawn together the better one is not better than either."""
    both = [1.0] * 50 + [0.0] * 50

    def upper_half(other: str) -> float:
        interval = hypervolume_interval([wins(both), wins(both, prompts=other)], [0.0], UP, draws=2000)
        return interval.high - interval.value
    assert upper_half("held out") == pytest.approx(0.1, abs=0.015)
    assert upper_half("other prompts") == pytest.approx(0.05, abs=0.015)  # the better of two is rarely low


def test_a_prompt_without_a_verdict_is_not_counted() -> None:
    nothing = float("nan")
    interval = hypervolume_interval([wins([1.0, nothing] * 30)], [0.0], UP)
    assert interval == Interval(1.0, pytest.approx(1.0), pytest.approx(1.0))
    assert hypervolume_interval([wins([nothing] * 3)], [0.0], UP).value == 0.5


def test_the_best_of_many_equal_policies_is_taken_down() -> None:
    """Twenty policies that win half of the time: the luckiest one has more, and the interval says it may be less."""
    chance = np.random.default_rng(1)
    samples = [wins(list(chance.integers(0, 2, 100))) for _ in range(20)]
    interval = hypervolume_interval(samples, [0.0], UP)
    assert interval.low < 0.52 < interval.value <= interval.high
    assert interval.value - interval.low > 2 * (interval.high - interval.value)


def test_the_order_of_points_changes_nothing_and_no_point_has_no_volume() -> None:
    samples = [wins([1.0, 0.0, 1.0], prompts="b"), wins([0.0, 0.5, 1.0, 1.0], prompts="a")]
    assert hypervolume_interval(samples, [0.0], UP) == hypervolume_interval(samples[::-1], [0.0], UP)
    assert hypervolume_interval([], [0.0], UP) == Interval(0.0, 0.0, 0.0)


def test_what_a_point_adds_has_the_interval_of_the_prompts_that_it_wins_more() -> None:
    """Two ends win on 50 and 40 of 100 prompts, the point between them on the same 50 and on ten more."""
    ends, between = [[1.0] * 50 + [0.0] * 50, [1.0] * 40 + [0.0] * 60], [1.0] * 60 + [0.0] * 40
    gain = hypervolume_gain_interval([wins(ends[0]), wins(between), wins(ends[1])], (0, 2), [0.0], UP, draws=4000)
    _, low, high = mean_interval([1.0] * 10 + [0.0] * 90)
    assert gain.value == pytest.approx(0.1)
    assert gain.low == pytest.approx(low, abs=0.015) and gain.high == pytest.approx(high, abs=0.015)


def test_a_copy_of_an_end_adds_nothing_without_any_doubt() -> None:
    """Though what all of them cover is uncertain: both are of the same draws."""
    end = wins([1.0] * 50 + [0.0] * 50)
    assert hypervolume_gain_interval([end, end, end], (0, 2), [0.0], UP) == Interval(0.0, 0.0, 0.0)
