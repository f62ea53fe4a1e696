"""The uncertainty of a hypervolume whose points are means over prompts: a bootstrap over the prompts.

Points that answered the same prompts are drawn together, since a hard prompt is hard for all of them. The interval is
the basic one (Davison and Hinkley 1997, section 5.2): the best of many noisy points looks better than it is, and once
more so in each draw, so what the draws lie above the value is taken off below it. How well
it covers is in docs/design-notes.md.

Left out: the noise of training itself; repeat a run to see it. Where no two outcomes differ there is no width, however
few the prompts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.fronts.dominance import Direction
from training.fronts.hypervolume import hypervolume

DRAWS = 1000
LEVEL = 0.95
_MOST_COUNTS = 5_000_000  # draws times prompts in memory at a time


class Sample(NamedTuple):
    """What is known of one point.

    Attributes:
        outcomes: [prompts, objectives], with at least one prompt; NaN where a prompt has no outcome. An objective that
            is no mean over prompts has the same value in each row.
        prompts: equal for points that answered the same prompts in the same order.
    """

    outcomes: NDArray[np.float64]
    prompts: Hashable

    def means(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The point in each draw, [draws, objectives]: one half in an objective without any outcome.

        Args:
            counts: how often each prompt was drawn, [draws, prompts].
        """
        known = ~np.isnan(self.outcomes)
        sums = counts @ np.where(known, self.outcomes, 0.0)
        numbers = counts @ known.astype(float)
        return np.where(numbers > 0, sums / np.maximum(numbers, 1), 0.5)


class Interval(NamedTuple):
    """A hypervolume with its 95 % interval."""

    value: float
    low: float
    high: float


def hypervolume_interval(samples: Sequence[Sample], reference: Sequence[float], directions: Sequence[Direction],
                         draws: int = DRAWS, seed: int = 0) -> Interval:
    """The hypervolume of the samples' means and its bootstrap interval.

    Args:
        samples: one per point.
        draws: how often the prompts are drawn anew.
        seed: of the draws; the same samples in any order give the same interval for the same seed.
    """
    value = _hypervolume_of(samples, reference, directions)
    if not samples:
        return Interval(value, value, value)
    return _basic(value, [hypervolume(points, reference, directions) for points in _drawn(samples, draws, seed)])


def hypervolume_gain_interval(samples: Sequence[Sample], part: Sequence[int], reference: Sequence[float],
                              directions: Sequence[Direction], draws: int = DRAWS, seed: int = 0) -> Interval:
    """What the samples cover beyond some of them, with the bootstrap interval of this difference: both are of the same
    draws, so that what moves all points moves neither.

    Args:
        part: the places of those that it is beyond.
    """
    some = list(part)
    value = _hypervolume_of(samples, reference, directions) - _hypervolume_of(
        [samples[place] for place in some], reference, directions)
    return _basic(max(0.0, value), [
        hypervolume(points, reference, directions) - hypervolume(points[some], reference, directions)
        for points in _drawn(samples, draws, seed)])


def _hypervolume_of(samples: Sequence[Sample], reference: Sequence[float], directions: Sequence[Direction]) -> float:
    return hypervolume([sample.means(np.ones((1, len(sample.outcomes)), dtype=int))[0] for sample in samples],
                       reference, directions)


def _drawn(samples: Sequence[Sample], draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """The points of each draw, [points, objectives]."""
    generator = np.random.default_rng(seed)
    sizes = {sample.prompts: len(sample.outcomes) for sample in sorted(samples, key=lambda sample: str(sample.prompts))}
    at_a_time = max(1, _MOST_COUNTS // sum(sizes.values()))
    for start in range(0, draws, at_a_time):
        batch = min(at_a_time, draws - start)
        counts = {prompts: generator.multinomial(size, np.full(size, 1 / size), size=batch)
                  for prompts, size in sizes.items()}
        yield from np.stack([sample.means(counts[sample.prompts]) for sample in samples], axis=1)


def _basic(value: float, volumes: Sequence[float]) -> Interval:
    """The basic interval of a value that is never negative, from its draws."""
    lower, upper = np.quantile(volumes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, max(0.0, min(value, float(2 * value - upper))), max(value, float(2 * value - lower)))
