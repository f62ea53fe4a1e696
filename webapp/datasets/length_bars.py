"""Bars of lengths that double (1, 2 to 3, 4 to 7), as a page draws them in SVG, without a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT, STEP, GAP = 100, 32, 6  # in units of the drawing


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands, how many values it holds, and which: '4–7'."""

    x: int
    y: float
    width: int
    height: float
    count: int
    values: str
    label: str  # under the bar; empty where there is no room


@dataclass(frozen=True)
class Histogram:
    bars: list[Bar]
    width: int

    @property
    def in_words(self) -> str:
        """For who cannot see it: '4–7: 12, 8–15: 3'."""
        return ", ".join(f"{bar.values}: {bar.count:,}" for bar in self.bars)


def histogram(bars: Sequence[Sequence[int]]) -> Histogram:
    """The drawing of [least, most, values] bars; the highest bar is HEIGHT high, and none that holds a value is
    invisible."""
    highest = max(count for *_, count in bars)
    drawings = []
    for place, (least, most, count) in enumerate(bars):
        height = max(1.0, HEIGHT * count / highest) if count else 0.0
        drawings.append(Bar(place * STEP + GAP // 2, round(HEIGHT - height, 1), STEP - GAP, round(height, 1), count,
                         f"{least:,}" if least == most else f"{least:,}–{most:,}", _short(least)))
    return Histogram(drawings, len(drawings) * STEP)


def _short(number: int) -> str:
    """16384 as '16k': what fits under a bar."""
    return str(number) if number < 1000 else f"{number / 1000:.0f}k" if number < 1_000_000 else f"{number / 1e6:.0f}M"
