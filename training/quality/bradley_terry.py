"""Strengths of policies from votes on pairs of their answers (Bradley and Terry 1952), with bootstrap intervals.

A strength is a log-odds: p(i beats j) = sigmoid(s_i - s_j); strengths have mean 0. A tie counts half a win for each
side. Every pair of policies starts with 2 / K of a tied vote, K - 1 in all: as many as there are free strengths, which
is for two policies Haldane's half a win for each side. So a policy that won everything has a finite strength, and
policies that never met stay comparable. `evalica` fits.

Left out: a tie parameter of its own (Rao and Kupper 1967), and votes of one person as correlated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from evalica import Winner, bradley_terry
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 200


class Vote(NamedTuple):
    """One vote between the policies `first` and `second`, by number: 1 where the first won, 0 the second, 1/2 a tie."""

    first: int
    second: int
    score: float


class Strengths(NamedTuple):
    """Strengths with the 95 % intervals of each, all [policies]."""

    value: Floats
    low: Floats
    high: Floats


def wins_of(votes: Sequence[Vote], policies: int) -> Floats:
    """How often the policy of a row beat that of a column, ties half: [policies, policies]."""
    wins = np.zeros((policies, policies))
    for vote in votes:
        wins[vote.first, vote.second] += vote.score
        wins[vote.second, vote.first] += 1 - vote.score
    return wins


def strengths_of(wins: Floats) -> Floats:
    """The most likely strengths [policies] for these wins [policies, policies], in nats, with mean 0.

    >>> wins = np.array([[0.0, 3.0], [1.0, 0.0]])
    >>> [round(float(value), 4) for value in strengths_of(wins)]  # log(3.5 / 1.5) apart
    [0.4236, -0.4236]
    """
    policies = len(wins)
    if policies < 2:
        return np.zeros(policies)
    rows, columns = np.nonzero(~np.eye(policies, dtype=bool))
    fitted = bradley_terry(rows.tolist(), columns.tolist(), [Winner.X] * len(rows), index=None,
                           weights=(wins[rows, columns] + 1 / policies).tolist(), tolerance=1e-8, limit=10_000)
    strengths = np.log(fitted.scores.reindex(range(policies)).to_numpy(dtype=np.float64))
    centred: Floats = strengths - strengths.mean()
    return centred


def with_intervals(votes: Sequence[Vote], policies: int, seed: int = 0, resamples: int = RESAMPLES) -> Strengths:
    """Strengths with the percentile interval of a bootstrap over votes."""
    value = strengths_of(wins_of(votes, policies))
    if not votes:
        return Strengths(value, np.full(policies, -np.inf), np.full(policies, np.inf))
    kinds, counts = np.unique(np.array(votes, dtype=np.float64), axis=0, return_counts=True)
    one_each = np.stack([wins_of([Vote(int(kind[0]), int(kind[1]), float(kind[2]))], policies) for kind in kinds])
    resampled = np.random.default_rng(seed).multinomial(len(votes), counts / len(votes), size=resamples)
    fits = np.stack([strengths_of(np.tensordot(draw.astype(np.float64), one_each, axes=1)) for draw in resampled])
    low, high = np.percentile(fits, [2.5, 97.5], axis=0)
    return Strengths(value, np.minimum(low, value), np.maximum(high, value))


def ranks_of(strengths: Strengths, votes: Sequence[int], least: int) -> list[int | None]:
    """The rank of each policy: 1 and how many are better beyond doubt, whose whole interval is above its own.

    Policies whose intervals overlap share a rank. Without `least` votes a policy has no rank, and pushes nobody down.
    """
    ranked = [number >= least for number in votes]
    return [1 + sum(ranked[other] and bool(strengths.low[other] > strengths.high[policy])
                    for other in range(len(votes))) if ranked[policy] else None for policy in range(len(votes))]


def win_rates_of(strengths: Floats) -> Floats:
    """How likely the policy of a row beats that of a column: [policies, policies]; p(i, j) + p(j, i) = 1."""
    rates: Floats = 1 / (1 + np.exp(np.clip(strengths[None, :] - strengths[:, None], -700, 700)))
    return rates


def covariance_of(wins: Floats, strengths: Floats) -> Floats:
    """The covariance [policies, policies] of strengths that have mean 0: the inverse of the Fisher information of
    the votes and of what every pair starts with."""
    policies, rates = len(wins), win_rates_of(strengths)
    votes = wins + wins.T + 2 / policies
    np.fill_diagonal(votes, 0)
    weights = votes * rates * (1 - rates)
    return np.asarray(np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights, hermitian=True), dtype=np.float64)
