"""Shares with their 95 % intervals, for every number of the report. Torch-free.

A share over one set of pairs has Wilson's interval. A win rate over several seeds and one set of prompts does not: the
seeds answer the same prompts. Its interval is the percentile interval of a two-way bootstrap that resamples seeds and
prompts (Owen 2007, arXiv 0711.3325); with three seeds it is somewhat too narrow, so the rates by seed are reported too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.quality.calibration import accuracy
from training.quality.intervals import wilson_interval

DRAWS = 2000


class Share(NamedTuple):
    """A share with its 95 % interval, what it was counted over, and its value in each seed where there are seeds."""

    value: float
    low: float
    high: float
    n: int
    by_seed: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "by_seed": list(self.by_seed)}


def share_right(differences: Sequence[float], choices: Sequence[float]) -> Share:
    """How often the sign of a difference of rewards is the side that was chosen; undecided choices do not count."""
    value, decided = accuracy(differences, choices)
    return Share(value, *wilson_interval(value * decided, decided), decided)


def share_agreeing(first: Sequence[float], second: Sequence[float], decided: float = 0.05) -> Share:
    """How often two judgements (probabilities) are on one side, over the pairs where both are decided."""
    sides = [(a > 0.5) == (b > 0.5) for a, b in zip(first, second, strict=True)
             if abs(a - 0.5) >= decided and abs(b - 0.5) >= decided]
    value = sum(sides) / len(sides) if sides else 0.5
    return Share(value, *wilson_interval(sum(sides), len(sides)), len(sides))


def share_won(scores: NDArray[np.float64], seed: int = 0) -> Share:
    """The win rate of scores [seed, prompt]: 1 won, 0.5 tied, 0 lost, NaN where there is no verdict."""
    has_verdict = ~np.isnan(scores)
    filled = np.nan_to_num(scores)
    if not has_verdict.any():
        return Share(0.5, 0.0, 1.0, 0)
    draw = np.random.default_rng(seed)
    seeds, prompts = scores.shape
    rows = draw.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)
    columns = draw.multinomial(prompts, np.full(prompts, 1 / prompts), DRAWS)
    won = ((rows @ filled) * columns).sum(axis=1)
    counted = ((rows @ has_verdict.astype(float)) * columns).sum(axis=1)
    rates = won[counted > 0] / counted[counted > 0]
    low, high = np.quantile(rates, [0.025, 0.975])
    by_seed = tuple(float(np.nanmean(row)) for row in scores if not np.isnan(row).all())
    return Share(float(filled.sum() / has_verdict.sum()), float(low), float(high), int(has_verdict.sum()), by_seed)


def turned(share: Share) -> Share:
    """The share of the other side: 1 - it."""
    return Share(1 - share.value, 1 - share.high, 1 - share.low, share.n, tuple(1 - rate for rate in share.by_seed))
