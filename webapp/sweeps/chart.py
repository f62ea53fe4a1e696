"""The front as a drawing: where each point, its interval and each tick stands in an SVG of fixed size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from webapp.runs.series.scales import Scale, Tick, ticks
from webapp.sweeps.front import Front, FrontPoint, P
from webapp.sweeps.objectives import Axis, Value

WIDTH, HEIGHT = 560.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 16.0, 14.0, 50.0
NEAR = 6.0  # marks that are closer have one label
SMALL, SMALL_MARGIN = 132.0, 8.0  # a drawing of the matrix


@dataclass(frozen=True)
class Mark:
    """A point of the drawing; `across` and `down` are its intervals, from and to, where it has them. `label`: the
    numbers of all points at its place, "" where a mark above it has them."""

    point: FrontPoint[Any]
    x: float
    y: float
    across: tuple[float, float] | None
    down: tuple[float, float] | None
    words: str
    label: str = ""


@dataclass(frozen=True)
class Drawing:
    """`stairs`: the line of the front, as the points of a polyline."""

    marks: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    stairs: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def drawing_of(front: Front[P]) -> Drawing:
    """The large drawing; marks of the front come last, so that they lie above the others."""
    x = _scale(front.x, [point.x for point in front.points], LEFT, WIDTH - RIGHT)
    y = _scale(front.y, [point.y for point in front.points], HEIGHT - BOTTOM, TOP)
    marks = [_mark(point, front, x, y) for point in sorted(front.points, key=lambda point: point.is_on_front)]
    return Drawing(_labelled(marks), ticks(x, front.x.kind == "share"), ticks(y, front.y.kind == "share"),
                   _stairs(front, x, y))


def small_drawing_of(front: Front[P]) -> Drawing:
    """One of the matrix: marks alone."""
    x = _scale(front.x, [point.x for point in front.points], SMALL_MARGIN, SMALL - SMALL_MARGIN, with_intervals=False)
    y = _scale(front.y, [point.y for point in front.points], SMALL - SMALL_MARGIN, SMALL_MARGIN, with_intervals=False)
    marks = [_mark(point, front, x, y) for point in sorted(front.points, key=lambda point: point.is_on_front)]
    return Drawing(marks, [], [], "", SMALL, SMALL)


def _labelled(marks: Sequence[Mark]) -> list[Mark]:
    """The marks, of which those that lie on top of each other share the label of the topmost: '3, 5'."""
    heaps: list[list[int]] = []
    for place in range(len(marks) - 1, -1, -1):
        near = next((heap for heap in heaps if math.hypot(
            marks[place].x - marks[heap[0]].x, marks[place].y - marks[heap[0]].y) < NEAR), None)
        if near is None:
            heaps.append([place])
        else:
            near.append(place)
    labels = {heap[0]: ", ".join(str(number) for number in sorted(marks[place].point.point.number
                                                                  for place in heap)) for heap in heaps}
    return [replace(mark, label=labels.get(place, "")) for place, mark in enumerate(marks)]


def shown(value: Value, axis: Axis) -> str:
    """'81% (76% to 86%)', '−0.42 sd'."""
    def number(amount: float) -> str:
        return f"{amount:.0%}" if axis.kind == "share" else f"{amount:.2f}".replace("-", "−")

    unit = f" {axis.unit}" if axis.unit else ""
    if value.low is None or value.high is None:
        return number(value.value) + unit
    return f"{number(value.value)}{unit} ({number(value.low)} to {number(value.high)})"


def _mark(point: FrontPoint[P], front: Front[P], x: Scale, y: Scale) -> Mark:
    words = f"{point.point.title}: {front.x.title} {shown(point.x, front.x)}; {front.y.title} {shown(point.y, front.y)}"
    return Mark(point, x.at(point.x.value), y.at(point.y.value), _span(point.x, x), _span(point.y, y), words)


def _span(value: Value, scale: Scale) -> tuple[float, float] | None:
    return None if value.low is None or value.high is None else (scale.at(value.low), scale.at(value.high))


def _scale(axis: Axis, values: Sequence[Value], start: float, end: float, with_intervals: bool = True) -> Scale:
    ends = [edge for value in values for edge in
            ((value.value, value.low, value.high) if with_intervals else (value.value,)) if edge is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 0.5
    low, high = low - room, high + room
    if axis.kind == "share":
        low, high = max(low, -0.02), min(high, 1.02)
    return Scale(low, high, start, end)


def _stairs(front: Front[P], x: Scale, y: Scale) -> str:
    """The border of what the front dominates: between two neighbours it turns at the left one's x where more of x is
    better, and at the left one's y where less is."""
    best = sorted({(point.x.value, point.y.value) for point in front.best})
    corners = best[:1]
    for (across, up), (next_across, next_up) in itertools.pairwise(best):
        corner = (across, next_up) if front.x.direction == "higher" else (next_across, up)
        corners += [corner, (next_across, next_up)]
    return " ".join(f"{x.at(across)},{y.at(up)}" for across, up in corners)
