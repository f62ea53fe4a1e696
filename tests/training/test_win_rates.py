"""Win rates and their intervals against published values."""

from __future__ import annotations

import pytest

from training.quality.win_rates import outcome, win_rate


def test_ties_count_half() -> None:
    rate = win_rate([0.9, 0.8, 0.5, 0.1])
    assert (rate.win_rate, rate.n, rate.wins, rate.ties, rate.losses) == (0.625, 4, 2, 1, 1)


def test_a_win_rate_is_the_mean_of_its_outcomes() -> None:
    probabilities = [0.9, 0.8, 0.5, 0.1, 0.5009, 0.4991, 0.502, 0.498, None]
    outcomes = [outcome(probability) for probability in probabilities]
    assert outcomes == [1, 1, 0.5, 0, 0.5, 0.5, 1, 0, None]
    assert win_rate(probabilities).win_rate == sum(value for value in outcomes if value is not None) / 8


def test_pairs_without_a_verdict_are_not_counted() -> None:
    rate = win_rate([0.9, None, None])
    assert (rate.win_rate, rate.n) == (1.0, 1)


def test_nothing_known_is_said_so() -> None:
    rate = win_rate([None])
    assert (rate.win_rate, rate.low, rate.high, rate.n) == (0.5, 0.0, 1.0, 0)


def test_turning_the_pairs_round_turns_the_rate_round() -> None:
    probabilities = [0.9, 0.5, 0.3, 0.7, 0.5004]
    there, back = win_rate(probabilities), win_rate([1 - p for p in probabilities])
    assert there.win_rate + back.win_rate == 1
    assert there.low == pytest.approx(1 - back.high)
