"""A sweep's points in all objectives at once: an axis per objective, a line per point, and ranges that select points.

Up is better on every axis. Ranges stand in the address (`from:KEY`, `to:KEY`, shares in percent), so that the server
selects without a script; with one, static/js/sweep-parallel.js selects while a range is drawn. Left out: the order of
axes by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from training.fronts.dominance import dominance_counts
from webapp.runs.compare.compared_runs import FEWEST, MOST
from webapp.runs.series.scales import Scale, Tick, ticks
from webapp.sweeps.chart import shown
from webapp.sweeps.objectives import Axis, Point

MOST_AXES = 14
WIDTH, SPACE, HEIGHT, TOP, BOTTOM, SIDE = 900.0, 118.0, 340.0, 62.0, 14.0, 62.0


class Range(NamedTuple):
    """What an axis lets through, in its own units; None: no limit on that side."""

    low: float | None
    high: float | None

    @property
    def is_open(self) -> bool:
        return self.low is None and self.high is None

    def holds(self, value: float) -> bool:
        return (self.low is None or value >= self.low - 1e-9) and (self.high is None or value <= self.high + 1e-9)


@dataclass(frozen=True)
class DrawnAxis:
    """An axis at `x`; `brush`: top and height of its range, None where it is open. `factor`: 100 for shares."""

    axis: Axis
    number: int
    x: float
    scale: Scale
    ticks: list[Tick]
    range: Range
    brush: tuple[float, float] | None

    @property
    def factor(self) -> int:
        return 100 if self.axis.kind == "share" else 1

    @property
    def principle(self) -> str:
        """The name whose hue it has; "" for an objective of no principle."""
        return self.axis.key.partition(":")[2]

    @property
    def title(self) -> list[str]:
        """In lines: what, and of what kind."""
        return self.axis.title.split(", ", 1)

    @property
    def low(self) -> str:
        return _input(self.range.low, self.factor)

    @property
    def high(self) -> str:
        return _input(self.range.high, self.factor)


@dataclass(frozen=True)
class DrawnPoint:
    """A point's line. `numbers`: its value on each axis, as the inputs have it. `cells`: the same in words."""

    point: Point
    line: str
    numbers: str
    cells: list[str]
    is_on_front: bool
    is_selected: bool


class Parallel:
    """The drawing of the points that have a value on each axis, and which of them the query selects."""

    def __init__(self, axes: Sequence[Axis], points: Sequence[Point], query: Mapping[str, Any]) -> None:
        known = {key for point in points for key in point.values}
        self.axes = [axis for axis in axes if axis.key in known and _is_shown(axis)][:MOST_AXES]
        self._query = query
        self._points = [point for point in points if all(axis.key in point.values for axis in self.axes)]
        self.left_out = len(points) - len(self._points)

    @property
    def is_shown(self) -> bool:
        """Two objectives are the front's own drawing."""
        return len(self.axes) > 2 and bool(self._points)

    @property
    def width(self) -> float:
        return 2 * SIDE + self._space * (len(self.axes) - 1)

    @property
    def _space(self) -> float:
        """Between two axes."""
        return max(SPACE, round((WIDTH - 2 * SIDE) / (len(self.axes) - 1), 1))

    height, top, bottom, length = HEIGHT, TOP, HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP

    @cached_property
    def drawn_axes(self) -> list[DrawnAxis]:
        return [self._axis(number, axis) for number, axis in enumerate(self.axes)]

    def _axis(self, number: int, axis: Axis) -> DrawnAxis:
        values = [point.values[axis.key].value for point in self._points]
        low, high = min(values), max(values)
        room = (high - low) * 0.05 or abs(high) * 0.1 or 0.5
        ends = (HEIGHT - BOTTOM, TOP) if axis.direction == "higher" else (TOP, HEIGHT - BOTTOM)
        scale = Scale(low - room, high + room, *ends)
        factor = 100 if axis.kind == "share" else 1
        chosen = Range(*(_number(self._query.get(f"{side}:{axis.key}"), factor) for side in ("from", "to")))
        first = scale.at(scale.low if chosen.low is None else chosen.low)
        last = scale.at(scale.high if chosen.high is None else chosen.high)
        brush = None if chosen.is_open else (min(first, last), round(abs(first - last), 1))
        return DrawnAxis(axis, number, round(SIDE + self._space * number, 1), scale,
                         ticks(scale, axis.kind == "share"), chosen, brush)

    @cached_property
    def points(self) -> list[DrawnPoint]:
        """Those on the front last, so that they lie above the others."""
        rows = [[point.values[axis.key].value for axis in self.axes] for point in self._points]
        counts = dominance_counts(rows, [axis.direction for axis in self.axes]) if rows else []
        lines = [self._point(point, row, count == 0)
                 for point, row, count in zip(self._points, rows, counts, strict=True)]
        return sorted(lines, key=lambda point: point.is_on_front)

    def _point(self, point: Point, row: Sequence[float], is_on_front: bool) -> DrawnPoint:
        axes = self.drawn_axes
        return DrawnPoint(
            point, " ".join(f"{axis.x},{axis.scale.at(value)}" for axis, value in zip(axes, row, strict=True)),
            " ".join(f"{value * axis.factor:.6g}" for axis, value in zip(axes, row, strict=True)),
            [shown(point.values[axis.axis.key], axis.axis) for axis in axes], is_on_front,
            all(axis.range.holds(value) for axis, value in zip(axes, row, strict=True)))

    @property
    def listed(self) -> list[DrawnPoint]:
        """All points by number: the list hides what is not selected."""
        return sorted(self.points, key=lambda point: point.point.first.number)

    @property
    def selected(self) -> int:
        return sum(point.is_selected for point in self.points)

    @property
    def can_compare(self) -> bool:
        return FEWEST <= sum(len(point.point.results) for point in self.points if point.is_selected) <= MOST


def _is_shown(axis: Axis) -> bool:
    """Win rates, measured changes and KL; the scores of preference models are their opinion of what they rewarded."""
    return axis.key.startswith(("win:", "measured:")) or axis.key == "kl"


def _number(text: Any, factor: int) -> float | None:
    """A limit from an address, where it is a number."""
    try:
        value = float(str(text).replace("−", "-").replace(",", ".")) / factor
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _input(limit: float | None, factor: int) -> str:
    return "" if limit is None else f"{limit * factor:.6g}"
