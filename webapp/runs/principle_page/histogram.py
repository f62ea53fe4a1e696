"""The histogram of numbers, as the server draws it: bars in percent of the picture's width and height."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_BARS = 24
_HIGHEST = 96.0  # percent of the picture's height


@dataclass(frozen=True)
class Bar:
    """One interval; numbers on its lower edge count, those on its upper edge belong to the next (the last has both).

    x, width, y, height: percent of the picture, from its upper left corner.
    """

    low: float
    high: float
    count: int
    x: float
    width: float
    y: float
    height: float
    is_one_value: bool  # a whole number of its own, and no interval


@dataclass(frozen=True)
class Histogram:
    bars: list[Bar]
    low: float
    high: float


def histogram_of(numbers: Sequence[float]) -> Histogram:
    """Bars of equal width from the least number to the greatest: one for each whole number where all are whole and lie
    within MOST_BARS of each other, else MOST_BARS.

    Raises:
        ValueError: there are no numbers.

    >>> [bar.count for bar in histogram_of([0, 0, 1, 3]).bars]
    [2, 1, 0, 1]
    """
    low, high = min(numbers), max(numbers)
    one_each = low == high or (high - low < MOST_BARS and all(float(number).is_integer() for number in numbers))
    count = int(high - low) + 1 if one_each else MOST_BARS
    span = count / 2 if one_each else high / 2 - low / 2  # halves: the difference of two huge numbers is infinite
    shares = [index / count for index in range(count + 1)]
    edges = [low + index for index in range(count + 1)] if one_each else [
        low * (1 - share) + high * share for share in shares]
    counts = [0] * count
    for number in numbers:
        counts[min(count - 1, math.floor((number / 2 - low / 2) / span * count))] += 1
    width, most = 100 / count, max(counts)
    bars = []
    for index, hits in enumerate(counts):
        height = _HIGHEST * hits / most
        bars.append(Bar(edges[index], edges[index + 1], hits, round(index * width + 0.08 * width, 3),
                        round(0.84 * width, 3), round(100 - height, 3), round(height, 3), one_each))
    return Histogram(bars, low, high)
