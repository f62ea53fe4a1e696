"""How far people agree beyond chance: Krippendorff's alpha for nominal values, with a bootstrap interval over pairs.

Krippendorff, Content Analysis (2004), chapter 11: alpha = 1 - D_o / D_e. The values are A, B and tie; a tie is a value
of its own. Pairs on which fewer than two people decided say nothing about agreement and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import krippendorff
import numpy as np

RESAMPLES = 2000
LEAST_PAIRS = 10  # with fewer, no interval is shown
Counts = tuple[int, int, int]  # people who said A, B, tie


@dataclass(frozen=True)
class PeopleAgreement:
    """The agreement of people on some pairs."""

    pairs: int  # with two or more decisions
    differing: int
    alpha: float | None  # None: nobody said anything but one value, so there is nothing that chance could spoil
    interval: tuple[float, float] | None  # 95%

    @property
    def agreeing_share(self) -> float | None:
        return 1 - self.differing / self.pairs if self.pairs else None


def agreement_of(counts: Iterable[Counts], seed: int = 0) -> PeopleAgreement:
    """The agreement on pairs, each given by how many people said A, B and tie."""
    patterns = Counter(count for count in counts if sum(count) >= 2)
    if not patterns:
        return PeopleAgreement(0, 0, None, None)
    values = np.array(list(patterns), dtype=np.int64)  # [patterns, 3]
    times = np.array(list(patterns.values()), dtype=np.int64)
    pairs, differing = int(times.sum()), int(times[(values > 0).sum(axis=1) > 1].sum())
    if (values.sum(axis=0) > 0).sum() < 2:
        return PeopleAgreement(pairs, differing, None, None)
    alpha = float(krippendorff.alpha(value_counts=np.repeat(values, times, axis=0), level_of_measurement="nominal"))
    return PeopleAgreement(pairs, differing, alpha, _interval(values, times, seed) if pairs >= LEAST_PAIRS else None)


def _interval(values: np.ndarray, times: np.ndarray, seed: int) -> tuple[float, float] | None:
    """Percentiles of alpha over resampled pairs. There are few patterns, so a resample is one multinomial draw."""
    pairs = int(times.sum())
    draws = np.random.default_rng(seed).multinomial(pairs, times / pairs, size=RESAMPLES)  # [resamples, patterns]
    alphas = nominal_alphas(values, draws)
    alphas = alphas[~np.isnan(alphas)]
    if not len(alphas):
        return None
    low, high = np.percentile(alphas, [2.5, 97.5])
    return float(low), float(high)


def nominal_alphas(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Alpha of many sets of pairs at once; NaN where only one value occurs.

    Args:
        values: how many people said each value, int [patterns, values].
        weights: how many pairs of each set have the pattern, int [sets, patterns].

    Returns:
        float [sets].
    """
    people = values.sum(axis=1)
    observed = weights @ ((people**2 - (values**2).sum(axis=1)) / (people - 1))
    totals = weights @ values  # [sets, values]
    n = totals.sum(axis=1)
    expected = (n**2 - (totals**2).sum(axis=1)).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan)
