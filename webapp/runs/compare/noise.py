"""Whether two measured numbers differ by more than their noise: the interval of a difference from two intervals.

MOVER, the method of variance estimates recovery (Zou and Donner 2008, doi 10.1002/sim.3095): with the intervals
(l1, u1) of x1 and (l2, u2) of x2, the interval of d = x2 - x1 is

    d - sqrt((x2 - l2)^2 + (u1 - x1)^2)   to   d + sqrt((u2 - x2)^2 + (x1 - l1)^2).

Of two shares with Wilson's intervals this is Newcombe's interval (1998, method 10); of two means with normal intervals
it is the normal interval of their difference.

Left out: that two runs may answer the same prompts, which mostly makes the true interval narrower; and a correction for
looking at many numbers at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Estimate(NamedTuple):
    """A measured number with its 95% interval, `low` <= `value` <= `high`."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much larger the second of two numbers is than the first, with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def difference(first: Estimate, second: Estimate) -> Difference:
    """Of independent estimates: `second` minus `first`."""
    value = second.value - first.value
    return Difference(value, value - math.hypot(second.value - second.low, first.high - first.value),
                      value + math.hypot(second.high - second.value, first.value - first.low))
