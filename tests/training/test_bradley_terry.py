"""Strengths from votes: hand-worked numbers, laws, a known order found again, intervals that hold what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.quality.bradley_terry import (
    Strengths,
    Vote,
    covariance_of,
    ranks_of,
    strengths_of,
    win_rates_of,
    wins_of,
    with_intervals,
)
from training.quality.pair_choice import worth_of_pairs


def drawn_votes(strengths: list[float], count: int, seed: int) -> list[Vote]:
    """Votes of a person who follows the model, on pairs at random."""
    draw, votes = np.random.default_rng(seed), []
    for _ in range(count):
        first, second = (int(place) for place in draw.choice(len(strengths), 2, replace=False))
        wins = draw.random() < 1 / (1 + math.exp(strengths[second] - strengths[first]))
        votes.append(Vote(first, second, float(wins)))
    return votes


def test_two_policies_with_three_wins_to_one_are_the_logarithm_of_their_odds_apart() -> None:
    """With half a win each to begin with the odds are 3.5 to 1.5."""
    strengths = strengths_of(wins_of([Vote(0, 1, 1.0)] * 3 + [Vote(0, 1, 0.0)], 2))
    assert strengths[0] - strengths[1] == pytest.approx(math.log(3.5 / 1.5), abs=1e-4)


def test_a_tie_is_half_a_win_for_each() -> None:
    assert wins_of([Vote(0, 1, 0.5), Vote(1, 0, 1.0)], 2).tolist() == [[0, 0.5], [1.5, 0]]


def test_the_covariance_of_two_policies_is_worked_out_by_hand() -> None:
    """Eight votes, half and half, and one more to begin with: information 9/4 on the difference, so its variance is
    4/9; each strength is half of the difference and has a quarter of the variance."""
    covariance = covariance_of(np.array([[0.0, 4.0], [4.0, 0.0]]), np.zeros(2))
    assert covariance == pytest.approx(np.array([[1, -1], [-1, 1]]) / 9)


def test_who_wins_every_time_has_a_finite_strength() -> None:
    strengths = strengths_of(wins_of([Vote(0, 1, 1.0)] * 50, 2))
    assert strengths[0] - strengths[1] == pytest.approx(math.log(50.5 / 0.5), abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0])), max_size=40))
def test_win_rates_of_a_pair_add_up_to_one_and_strengths_to_zero(rows: list[tuple[int, int, float]]) -> None:
    votes = [Vote(*row) for row in rows if row[0] != row[1]]
    strengths = strengths_of(wins_of(votes, 4))
    rates = win_rates_of(strengths)
    assert rates + rates.T == pytest.approx(np.ones((4, 4)))
    assert strengths.sum() == pytest.approx(0, abs=1e-9)


def test_two_hundred_votes_find_a_known_order_again() -> None:
    votes = drawn_votes([1.5, 0.5, -0.5, -1.5], 200, seed=3)
    assert np.argsort(-strengths_of(wins_of(votes, 4))).tolist() == [0, 1, 2, 3]


def test_intervals_hold_the_truth_in_most_of_twenty_simulations() -> None:
    """A hundred are simulated by benchmarks/arena.py."""
    true = np.array([0.8, 0.2, -1.0])
    inside = 0
    for seed in range(20):
        fitted = with_intervals(drawn_votes(true.tolist(), 150, seed), 3, seed, resamples=100)
        inside += int(((fitted.low <= true) & (true <= fitted.high)).sum())
    assert 60 * 0.85 <= inside <= 60


def test_without_a_vote_nothing_is_known() -> None:
    fitted = with_intervals([], 3)
    assert fitted.value.tolist() == [0, 0, 0] and np.isinf(fitted.low).all() and np.isinf(fitted.high).all()


def test_overlapping_intervals_share_a_rank_and_too_few_votes_have_none() -> None:
    fitted = Strengths(np.array([2.0, 1.0, 0.8, -3.0]), np.array([1.5, 0.5, 0.3, -4.0]),
                       np.array([2.5, 1.4, 1.2, -2.0]))
    assert ranks_of(fitted, [30, 30, 30, 30], least=10) == [1, 2, 2, 4]
    assert ranks_of(fitted, [5, 30, 30, 30], least=10) == [None, 1, 1, 3]


# Which pair next ------------------------------------------------------------------------------------------------------


def test_the_pair_that_was_never_compared_is_worth_most() -> None:
    wins = np.full((3, 3), 10.0)
    wins[0, 2] = wins[2, 0] = 0
    np.fill_diagonal(wins, 0)
    worth = worth_of_pairs(wins)
    assert np.unravel_index(worth.argmax(), worth.shape) == (0, 2)
    assert worth == pytest.approx(worth.T) and np.diag(worth).tolist() == [0, 0, 0]


def test_a_vote_is_worth_what_it_takes_from_the_variance() -> None:
    """Against the covariance with the vote added, which is computed from scratch."""
    wins = np.array([[0.0, 6, 2], [3, 0, 5], [1, 4, 0]])
    strengths = strengths_of(wins)
    before = np.trace(covariance_of(wins, strengths))
    more = wins.copy()
    more[0, 1] += 0.5
    more[1, 0] += 0.5
    after = np.trace(covariance_of(more, strengths))
    assert worth_of_pairs(wins)[0, 1] == pytest.approx(before - after, rel=1e-6)


def test_pairs_that_others_are_looking_at_are_worth_less() -> None:
    wins, planned = np.zeros((3, 3)), np.zeros((3, 3))
    planned[0, 1] = planned[1, 0] = 5
    worth = worth_of_pairs(wins, planned)
    assert worth[0, 1] < worth[0, 2] and worth[0, 1] < worth[1, 2]
