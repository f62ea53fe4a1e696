"""Choosing the pair on which a vote tells most reaches the same certainty with fewer votes than choosing at random."""

from __future__ import annotations

import numpy as np

from training.quality.bradley_terry import Floats, covariance_of, strengths_of
from training.quality.pair_choice import worth_of_pairs

EIGHT = np.arange(8.0)  # one nat apart: the size at which benchmarks/arena.py counts 32% fewer votes
WIDTH = 0.9  # of the 95% intervals on average, in nats


def votes_until_certain(seed: int, *, active: bool) -> int:
    """Votes until the intervals of eight policies are narrow enough; votes are drawn from their true strengths."""
    draw, votes = np.random.default_rng(seed), 0
    wins: Floats = np.zeros((len(EIGHT), len(EIGHT)))
    while votes % 5 or 2 * 1.96 * np.sqrt(np.diag(covariance_of(wins, strengths_of(wins)))).mean() >= WIDTH:
        if active:
            i, j = divmod(int(worth_of_pairs(wins).argmax()), len(EIGHT))
        else:
            i, j = (int(place) for place in draw.choice(len(EIGHT), 2, replace=False))
        score = float(draw.random() < 1 / (1 + np.exp(EIGHT[j] - EIGHT[i])))
        wins[i, j] += score
        wins[j, i] += 1 - score
        votes += 1
    return votes


def test_between_eight_policies_of_different_strength_a_fifth_of_the_votes_is_saved_and_more() -> None:
    active = [votes_until_certain(seed, active=True) for seed in range(2)]
    at_random = [votes_until_certain(seed, active=False) for seed in range(2)]
    assert sum(active) < 0.8 * sum(at_random), f"{active} votes chosen, {at_random} at random"
    assert all(chosen < drawn for chosen, drawn in zip(active, at_random, strict=True))
