"""Strengths with length taken out: a policy that wins by length alone loses its lead, and the length gets it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.quality.bradley_terry import Vote, strengths_of, wins_of
from training.quality.style_control import LengthVote, logistic_fit, with_length


def votes_by_length(count: int, worth: float, seed: int = 0) -> list[LengthVote]:
    """Two policies of the same strength; the first writes longer in most pairs, and people like length."""
    draw, votes = np.random.default_rng(seed), []
    for _ in range(count):
        length = float(np.clip(draw.normal(0.3, 0.3), -1, 1))
        votes.append(LengthVote(0, 1, float(draw.random() < 1 / (1 + math.exp(-worth * length))), length))
    return votes


def test_a_lead_that_is_length_goes_with_the_length() -> None:
    votes = votes_by_length(600, worth=3.0)
    plain = strengths_of(wins_of([Vote(*vote[:3]) for vote in votes], 2))
    strengths, (worth, low, high) = with_length(votes, 2)
    assert plain[0] - plain[1] > 0.5
    assert strengths.low[0] < 0 < strengths.high[0]
    assert low < 3.0 < high and low > 1.5 and worth == pytest.approx(3, abs=0.8)


def test_with_equal_lengths_it_is_bradley_and_terry() -> None:
    strengths, _ = with_length([LengthVote(0, 1, score, 0.0) for score in [1.0] * 300 + [0.0] * 100], 2)
    assert strengths.value[0] - strengths.value[1] == pytest.approx(math.log(3), abs=0.02)


def test_a_coefficient_and_its_deviation_are_worked_out_by_hand() -> None:
    """Of 40 trials 30 succeed: the log-odds are log 3, and the variance is 1 / (40 x 3/4 x 1/4)."""
    fit = logistic_fit(np.ones((40, 1)), np.array([1.0] * 30 + [0.0] * 10), np.zeros(1))
    assert fit.value[0] == pytest.approx(math.log(3))
    assert fit.covariance[0, 0] == pytest.approx(1 / 7.5)


def test_who_wins_every_time_stays_finite() -> None:
    strengths, _ = with_length([LengthVote(0, 1, 1.0, 0.1)] * 50, 2)
    assert np.isfinite(strengths.value).all() and strengths.value[0] > 1
