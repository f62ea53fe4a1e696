"""Several policies against each other on the same prompts: who beats whom, and how each fares against all.

Every pair of policies is judged on every prompt. A cell of the matrix is a win rate with Wilson's interval; its mirror
image is what is left of 1, with the opposite interval. How a policy fares against all others is a mean over prompts of
its mean outcome on each: outcomes on one prompt share that prompt's answer, so that only prompts count as independent.

Left out: strengths by Bradley and Terry (`bradley_terry.py`), which assume that the matrix has one order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from training.quality.intervals import mean_interval
from training.quality.win_rates import WinRate, outcome, win_rate

Pair = tuple[int, int]
Columns = Mapping[Pair, Sequence[float | None]]
"""By pair (i, j), i < j, a judge's probability on each prompt that i's answer is the better; None: no verdict."""


class Standing(NamedTuple):
    """A policy's share of wins against all others, ties counted half, with its 95 % interval over `n` prompts."""

    share: float
    low: float
    high: float
    n: int


def pairs_of(policies: int) -> list[Pair]:
    """Every two of some policies, by their places.

    >>> pairs_of(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(policies), 2))


def opposite(rate: WinRate) -> WinRate:
    """The same comparisons from the other side: its share and this one's add up to 1."""
    return WinRate(1 - rate.win_rate, 1 - rate.high, 1 - rate.low, rate.n, rate.losses, rate.ties, rate.wins)


def win_matrix(columns: Columns, policies: int) -> list[list[WinRate | None]]:
    """Row i, column j: how often i is preferred to j. None on the diagonal, and where there is no verdict."""
    matrix: list[list[WinRate | None]] = [[None] * policies for _ in range(policies)]
    for (i, j), column in columns.items():
        rate = win_rate(column)
        if rate.n:
            matrix[i][j], matrix[j][i] = rate, opposite(rate)
    return matrix


def standings(columns: Columns, policies: int) -> list[Standing | None]:
    """Each policy against all others; None for one without any verdict."""
    shares: list[Standing | None] = []
    for policy in range(policies):
        per_prompt = [math.fsum(outcomes) / len(outcomes) for outcomes in _on_each_prompt(columns, policy) if outcomes]
        if not per_prompt:
            shares.append(None)
            continue
        mean, low, high = mean_interval(per_prompt)
        shares.append(Standing(mean, max(0.0, low), min(1.0, high), len(per_prompt)))
    return shares


def _on_each_prompt(columns: Columns, policy: int) -> list[list[float]]:
    """The outcomes of a policy by prompt: 1 for a win, 1/2 for a tie, 0 for a loss."""
    of_policy = [(column, policy == i) for (i, j), column in columns.items() if policy in (i, j)]
    prompts = max((len(column) for column, _ in of_policy), default=0)
    by_prompt: list[list[float]] = [[] for _ in range(prompts)]
    for column, is_first in of_policy:
        for place, probability in enumerate(column):
            won = outcome(probability)
            if won is not None:
                by_prompt[place].append(won if is_first else 1 - won)
    return by_prompt
