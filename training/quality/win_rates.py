"""Who wins: win rates of one policy against another with their uncertainty.

A judge's verdict is a probability; above a half is a win, below a loss, and within a hair of a half a tie, which counts
half. The interval is Wilson's score interval (Wilson 1927, doi 10.1080/01621459.1927.10502953), which stays inside
[0, 1] and holds its level for small n and shares near 0 or 1, where the usual +-1.96 sd does not.

Left out: Elo and Bradley-Terry scores over many policies, length-controlled win rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

TIE = 1e-3
"""Probabilities this close to a half are ties: the rule judge gives exactly a half to answers of equal score."""


class WinRate(NamedTuple):
    """The share of comparisons won, ties counted half, with a 95 % interval. `n` is wins + ties + losses."""

    win_rate: float
    low: float
    high: float
    n: int
    wins: int
    ties: int
    losses: int


def win_rate(probabilities: Sequence[float | None]) -> WinRate:
    """The win rate of the first of each pair.

    Args:
        probabilities: that the first is better, one per pair; None where the judge gave no verdict: not counted.

    Returns:
        Without any verdict the rate is 0.5 and the interval [0, 1].
    """
    judged = [probability for probability in probabilities if probability is not None]
    wins = sum(probability > 0.5 + TIE for probability in judged)
    losses = sum(probability < 0.5 - TIE for probability in judged)
    ties = len(judged) - wins - losses
    share = (wins + ties / 2) / len(judged) if judged else 0.5
    return WinRate(share, *wilson_interval(share, len(judged)), len(judged), wins, ties, losses)


def wilson_interval(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """(low, high) of a share of n independent trials; z = 1.96 for 95 %. No trial gives (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)
