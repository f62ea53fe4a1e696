"""Scales of charts that the server draws: from a value to a place, and the round values that are written beside it."""

from __future__ import annotations

import math
from typing import NamedTuple


class Tick(NamedTuple):
    at: float
    text: str


class Scale(NamedTuple):
    """From a value to a place: `low` stands at `start`, `high` at `end`; what lies outside stands at the edge."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def ticks(scale: Scale, is_share: bool = False, about: int = 5) -> list[Tick]:
    """At most `about` + 1 round values: multiples of 1, 2 or 5 times a power of ten; shares as percentages."""
    raw = (scale.high - scale.low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next((size * factor for factor in (1, 2, 5, 10) if size * factor >= raw), size * 10)
    first = math.ceil(scale.low / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [Tick(scale.at(place * step), f"{place * step:.0%}" if is_share and step >= 0.01 else
                 f"{place * step:.{digits}f}".replace("-", "−"))
            for place in range(first, math.floor(scale.high / step + 1e-9) + 1)]
