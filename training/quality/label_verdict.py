"""What a judge's labels of one principle are worth, from their counts. Torch-free.

A judge that answers by the place of a response, not by its text, names the other response when the two swap places: an
order flip. One that always says A flips on every pair, a fair coin on half of them, a judge of any worth on fewer.

Left out: telling a coin from a judge that is right in 60 of 100 cases. Two orders answered by the coin agree in 50 % of
the pairs, two that are each right in 60 % agree in 52 %; no number of pairs that anybody buys tells these apart. The
held-out accuracy of the preference models does (`chance`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from training.quality.intervals import Z_95, wilson_interval

FIRST_LOOK = 50
"""Pairs asked in both orders; with fewer, nothing is said of a judge. A judge that flips on 40 % of all pairs shows the
32 flips of 50 that stop it in 5 of 10,000 label stages, one that flips on 30 % in fewer than 1 of a million."""


class Estimate(NamedTuple):
    """A share or a mean with its 95 % interval, over n pairs."""

    value: float
    low: float
    high: float
    n: int

    @property
    def percent(self) -> str:
        """As a share.

        >>> Estimate(0.64, 0.501, 0.759, 50).percent
        '64% (50% to 76%) of 50 pairs'
        """
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%}) of {self.n} pairs"


class LabelVerdict(NamedTuple):
    """Counts of one principle's labels.

    Attributes:
        usable: labels with a probability. decided: those of them at least `calibration.DECIDED` from 1/2.
        confidence, confidence_squares: the sums of max(p, 1 - p) and of its square.
        both: labels asked in both orders. flips: those of them whose orders name different winners.
    """

    usable: int
    decided: int
    confidence: float
    confidence_squares: float
    both: int
    flips: int

    @property
    def flip_share(self) -> Estimate:
        return _share(self.flips, self.both)

    @property
    def decided_share(self) -> Estimate:
        return _share(self.decided, self.usable)

    @property
    def mean_confidence(self) -> Estimate:
        """With the interval of a mean, by the normal distribution; without labels from 1/2 to 1."""
        n = self.usable
        if n == 0:
            return Estimate(0.5, 0.5, 1.0, 0)
        mean = self.confidence / n
        deviation = math.sqrt(max(0.0, self.confidence_squares / n - mean * mean))
        half_width = Z_95 * deviation / math.sqrt(n)
        return Estimate(mean, max(0.5, mean - half_width), min(1.0, mean + half_width), n)

    @property
    def words(self) -> str:
        """The verdict as one line."""
        confidence = self.mean_confidence
        return (f"order flips {self.flip_share.percent}, decided {self.decided_share.percent}, mean confidence "
                f"{confidence.value:.2f} ({confidence.low:.2f} to {confidence.high:.2f})")

    def flips_too_often(self, most: float) -> bool:
        """Whether the share of flips is above `most`, and surely above one half too (above `most`, where that is less).

        >>> [LabelVerdict(50, 0, 25.0, 12.5, 50, flips).flips_too_often(0.6) for flips in (31, 32, 50)]
        [False, True, True]
        """
        share = self.flip_share
        return share.n >= FIRST_LOOK and share.value > most and share.low > min(0.5, most)


def _share(count: int, n: int) -> Estimate:
    return Estimate(count / max(1, n), *wilson_interval(count, n), n)
