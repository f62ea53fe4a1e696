"""Who wins: win rates of one policy against another with their uncertainty.

A judge's verdict is a probability; above a half is a win, below a loss, and within a hair of a half a tie, which counts
half. The interval is Wilson's score interval (training/quality/intervals.py).

Left out: Elo and Bradley-Terry scores over many policies, length-controlled win rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from training.quality.intervals import wilson_interval

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


def outcome(probability: float | None) -> float | None:
    """What one comparison adds to a win rate: 1 for a win, a half for a tie, 0 for a loss; None is not counted."""
    if probability is None:
        return None
    return 1.0 if probability > 0.5 + TIE else 0.0 if probability < 0.5 - TIE else 0.5


def win_rate(probabilities: Sequence[float | None]) -> WinRate:
    """The win rate of the first of each pair.

    Args:
        probabilities: that the first is better, one per pair; None where the judge gave no verdict: not counted.

    Returns:
        Without any verdict the rate is 0.5 and the interval [0, 1].
    """
    judged = [counted for probability in probabilities if (counted := outcome(probability)) is not None]
    wins, ties, losses = judged.count(1.0), judged.count(0.5), judged.count(0.0)
    wins_and_half_ties = wins + ties / 2
    share = wins_and_half_ties / len(judged) if judged else 0.5
    return WinRate(share, *wilson_interval(wins_and_half_ties, len(judged)), len(judged), wins, ties, losses)
