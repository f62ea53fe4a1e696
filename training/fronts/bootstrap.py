"""The uncertainty of a hypervolume whose points are means over prompts: a bootstrap over the prompts.

Points that answered the same prompts are drawn together, since a hard prompt is hard for all of them. The interval is
the bias-corrected percentile interval (Efron 1987, doi 10.2307/2289144): the best of many noisy points looks better
than it is, in the sample as in every draw, and plain percentiles would show this twice.

Left out: the noise of training itself; repeat a run to see it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.fronts.dominance import Direction
from training.fronts.hypervolume import hypervolume

DRAWS = 1000
LEVEL = 0.95


class Sample(NamedTuple):
    """What is known of one point.

    Attributes:
        outcomes: [prompts, objectives]; NaN where a prompt has no outcome. An objective that is no mean over prompts
            has the same value in each row.
        prompts: equal for points that answered the same prompts in the same order.
    """

    outcomes: NDArray[np.float64]
    prompts: Hashable

    def mean(self, rows: NDArray[np.int64] | slice = slice(None), empty: float = 0.5) -> NDArray[np.float64]:
        """The point: its means over these rows. An objective without any outcome is `empty`."""
        drawn = self.outcomes[rows]
        known = ~np.isnan(drawn)
        counts = known.sum(axis=0)
        sums = np.where(known, drawn, 0.0).sum(axis=0)
        return np.where(counts > 0, sums / np.maximum(counts, 1), empty)


class Interval(NamedTuple):
    """A hypervolume with its 95 % interval."""

    value: float
    low: float
    high: float


def hypervolume_interval(samples: Sequence[Sample], reference: Sequence[float], directions: Sequence[Direction],
                         draws: int = DRAWS, seed: int = 0) -> Interval:
    """The hypervolume of the samples' means and its bootstrap interval.

    Args:
        samples: one per point, each with at least one prompt.
        draws: how often the prompts are drawn anew.
        seed: of the draws; the same samples in any order give the same interval for the same seed.
    """
    value = hypervolume([sample.mean() for sample in samples], reference, directions)
    if not samples:
        return Interval(value, value, value)
    generator = np.random.default_rng(seed)
    sizes = {sample.prompts: len(sample.outcomes) for sample in sorted(samples, key=lambda sample: str(sample.prompts))}
    drawn_values = np.empty(draws)
    for draw in range(draws):
        rows = {prompts: generator.integers(0, size, size) for prompts, size in sizes.items()}
        means = [sample.mean(rows[sample.prompts]) for sample in samples]
        drawn_values[draw] = hypervolume(means, reference, directions)
    return Interval(value, *_bias_corrected(drawn_values, value))


def _bias_corrected(drawn: NDArray[np.float64], value: float) -> tuple[float, float]:
    """The ends of the interval: percentiles, moved by how far the value is from the median of the draws."""
    normal = NormalDist()
    scale = max(1.0, abs(value))
    below, equal = (drawn < value - 1e-12 * scale).sum(), (np.abs(drawn - value) <= 1e-12 * scale).sum()
    share = min(max((below + equal / 2) / len(drawn), 0.5 / len(drawn)), 1 - 0.5 / len(drawn))
    shift = 2 * normal.inv_cdf(float(share))
    quantiles = [normal.cdf(shift + normal.inv_cdf(tail)) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    low, high = np.quantile(drawn, quantiles)
    return float(low), float(high)
