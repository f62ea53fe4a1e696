"""How much of an objective's variance over the runs of a sweep each varied field explains: the correlation ratio.

For one field, the runs with the same value are a group, and eta squared is the sum of squares between the groups over
the total (Pearson 1905): 0 where all groups have the same mean, 1 where runs of the same value agree. It finds any
dependence on the field alone, curved ones too. Many groups explain something by chance, so beside it stands what they
explain when the objective's values are dealt out at random (95th percentile of permutations).

Left out: interactions. A field that matters only together with another one looks unimportant here. Fields that were
varied together, as the weights on a simplex, explain the same variance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
MOST_LEVELS = 3
"""Groups that a field is cut into whose values hardly repeat, as those of random draws."""


class Importance(NamedTuple):
    """What one field explains.

    Attributes:
        explained: eta squared; None where there are too few runs, and then `why` says what is missing.
        low, high: 95% percentile interval; runs are drawn anew within their groups.
        by_chance: what a field that does nothing stays below, 95 times in 100.
        cut: whether its numbers were cut into groups of about equal size.
    """

    explained: float | None
    low: float = 0.0
    high: float = 0.0
    by_chance: float = 0.0
    levels: int = 0
    cut: bool = False
    why: str = ""

    @property
    def is_beyond_chance(self) -> bool:
        return self.explained is not None and self.explained > self.by_chance


def importance(settings: Sequence[Any], numbers: Sequence[float], draws: int = DRAWS, seed: int = 0) -> Importance:
    """The importance of one field.

    Args:
        settings: the field's value in each run, anything that JSON can write.
        numbers: the objective in each run.
        draws: of the interval and of the permutations, each.
    """
    groups, cut = _groups(settings)
    levels = int(groups.max()) + 1 if len(groups) else 0
    sizes = np.bincount(groups, minlength=levels)
    if levels < 2:
        return Importance(None, levels=levels, why="one value in all finished runs")
    if len(groups) < levels + 3 or int((sizes >= 2).sum()) < 2:
        return Importance(None, levels=levels,
                          why="too few runs: two values need at least two runs each, and five in all")
    values = np.asarray(numbers, dtype=float)
    if np.allclose(values, values[0]):
        return Importance(None, levels=levels, why="the objective is the same in all runs")
    generator = np.random.default_rng(seed)
    dealt = np.array([eta_squared(groups, generator.permutation(values)) for _ in range(draws)])
    members = [np.flatnonzero(groups == level) for level in range(levels)]
    resampled = np.array([eta_squared(groups[chosen], values[chosen]) for chosen in (
        np.concatenate([generator.choice(own, len(own)) for own in members]) for _ in range(draws))])
    low, high = np.quantile(resampled, [0.025, 0.975])
    explained = eta_squared(groups, values)
    return Importance(explained, min(float(low), explained), max(float(high), explained),
                      float(np.quantile(dealt, 0.95)), levels, cut)


def eta_squared(groups: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """The sum of squares between groups over the total; 0 where all values are equal.

    >>> eta_squared(np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 5.0, 7.0]))
    0.8
    """
    sizes = np.bincount(groups)
    means = np.bincount(groups, weights=values) / np.maximum(sizes, 1)
    total = float(((values - values.mean()) ** 2).sum())
    return float((sizes * (means - values.mean()) ** 2).sum()) / total if total > 0 else 0.0


def _groups(settings: Sequence[Any]) -> tuple[NDArray[np.int64], bool]:
    """The group of each run, and whether numbers were cut into groups since they hardly repeat."""
    keys = [json.dumps(setting, sort_keys=True) for setting in settings]
    levels = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    is_numeric = all(isinstance(setting, int | float) and not isinstance(setting, bool) for setting in settings)
    if is_numeric and len(levels) > MOST_LEVELS and 2 * len(levels) > len(keys):
        ranks = np.unique(np.asarray(settings, dtype=float), return_inverse=True)[1]
        edges = np.quantile(ranks, [place / MOST_LEVELS for place in range(1, MOST_LEVELS)])
        return np.unique(np.searchsorted(edges, ranks, side="left"), return_inverse=True)[1].astype(np.int64), True
    return np.array([levels[key] for key in keys], dtype=np.int64), False
