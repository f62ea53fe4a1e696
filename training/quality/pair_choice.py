"""Which two policies to compare next: the pair on which a vote reduces the variance of all strengths most.

A vote on policies i and j adds the information p (1 - p) in the direction x = e_i - e_j, so that the covariance C loses
p (1 - p) C x x' C / (1 + p (1 - p) x' C x) (Sherman and Morrison 1950). The trace of that is what a pair is
worth; the trace of C is in proportion to the variance of all differences of two strengths (A-optimal design).

Left out: looking ahead by more than one vote.
"""

from __future__ import annotations

import numpy as np

from training.quality.bradley_terry import Floats, covariance_of, strengths_of, win_rates_of


def worth_of_pairs(wins: Floats, planned: Floats | None = None) -> Floats:
    """By how much a vote on each pair reduces the summed variance of the strengths: [policies, policies], symmetric.

    Args:
        wins: how often the policy of a row beat that of a column, ties half.
        planned: symmetric counts of pairs that are shown and have no vote yet; they count as votes that say what is
            expected, so that several people at once are not all shown the same two policies.
    """
    strengths = strengths_of(wins)
    rates = win_rates_of(strengths)
    covariance = covariance_of(wins if planned is None else wins + planned / 2, strengths)
    columns = covariance[:, :, None] - covariance[:, None, :]  # [k, i, j]: the k-th entry of C (e_i - e_j)
    variances = np.diag(covariance)[:, None] + np.diag(covariance)[None, :] - 2 * covariance
    information = rates * (1 - rates)
    worth: Floats = information * (columns ** 2).sum(axis=0) / (1 + information * variances)
    np.fill_diagonal(worth, 0)
    return worth
