"""Confidence intervals of shares and of means: pure functions. Torch-free, so that the web uses them too.

Left out: intervals of anything but one share or mean of independent trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_95 = 1.959964
"""The 97.5 % quantile of the standard normal distribution: 95 % of it lies within this many standard deviations."""


def wilson_interval(successes: float, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of the share `successes / n` of n independent trials.

    Wilson 1927, doi 10.1080/01621459.1927.10502953. It stays inside [0, 1] and keeps its level for small n and for
    shares near 0 or 1, where share +- z standard errors does not.

    Args:
        successes: how many of the n trials succeeded; a tie may count half.
        z: the quantile that sets the level: 95 % by default.

    Returns:
        (low, high). Without any trial it is (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z * z / (2 * n)
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half_width) / scale), min(1.0, (centre + half_width) / scale)


def mean_interval(values: Sequence[float], z: float = Z_95) -> tuple[float, float, float]:
    """The mean of independent values and its normal interval: mean +- z s / sqrt(n), where s divides by n - 1.

    It keeps its level for some thirty values and more; for few it is too narrow.

    Args:
        values: at least one; of one value alone the interval is the value itself.

    Returns:
        (mean, low, high).

    >>> [round(number, 2) for number in mean_interval([1.0, 2.0, 3.0, 6.0])]
    [3.0, 0.88, 5.12]
    """
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    half_width = z * math.sqrt(variance / len(values))
    return mean, mean - half_width, mean + half_width
