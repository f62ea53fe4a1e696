"""What the page shows of a sweep's front: the axes that the address chooses, the drawing, the matrix, importances."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import urlencode

from training.sweep.combinations import REPEAT
from training.sweep.importance import Importance, importance
from webapp.sweeps.chart import Drawing, drawing_of, shown, small_drawing_of
from webapp.sweeps.front import Front, front_of
from webapp.sweeps.objectives import Axis, Point
from webapp.sweeps.selectors import SweepPage

MOST_IN_MATRIX = 6


class Cell(NamedTuple):
    """A drawing of the matrix, and the address of the page with its axes."""

    x: Axis
    y: Axis
    drawing: Drawing
    address: str
    is_shown: bool


class Row(NamedTuple):
    """A row of the table under the drawing."""

    title: str
    runs: list[tuple[int, int]]  # number in the sweep, and key
    x: str
    y: str
    dominated_by: int


class FieldRow(NamedTuple):
    """A varied field with its importance, and its share of the bar's width."""

    path: str
    importance: Importance


class FrontPage:
    """The front of a sweep's page. An axis that the address names and nobody knows is the default one."""

    def __init__(self, page: SweepPage, query: Mapping[str, Any]) -> None:
        self.page, self.axes = page, page.axes
        by_key = {axis.key: axis for axis in page.axes}
        defaults = (page.axes * 2)[:2]
        first, second = (by_key.get(str(query.get(name, "")), default)
                         for name, default in zip(("x", "y"), defaults, strict=False)) if defaults else (None, None)
        self.x: Axis | None = first
        self.y: Axis | None = second if second != first else next((axis for axis in page.axes if axis != first), None)
        self.importance_of: Axis | None = by_key.get(str(query.get("of", "")), self.x)

    @cached_property
    def front(self) -> Front[Point] | None:
        """None while no run has both values."""
        if self.x is None or self.y is None:
            return None
        front = front_of(self.page.points, self.x, self.y, with_interval=not self.page.counts.under_way)
        return front if front.points else None

    @property
    def drawing(self) -> Drawing | None:
        return drawing_of(self.front) if self.front else None

    @property
    def rows(self) -> list[Row]:
        if self.front is None:
            return []
        ordered = sorted(self.front.points, key=lambda point: (point.dominated_by, point.point.first.number))
        return [Row(point.point.title, [(result.number, result.run) for result in point.point.results],
                    shown(point.x, self.front.x), shown(point.y, self.front.y), point.dominated_by)
                for point in ordered]

    @property
    def has_repetitions(self) -> bool:
        return any(len(point.results) > 1 for point in self.page.points)

    @property
    def reference(self) -> str:
        """'toxicity, win rate 0; KL to the base 5'."""
        if self.front is None:
            return ""
        return "; ".join(f"{axis.title} {worst:.3g}" for axis, worst in
                         zip((self.front.x, self.front.y), self.front.reference, strict=True))

    @property
    def reference_is_of_runs(self) -> list[str]:
        """The axes whose worst value is that of the runs."""
        return [axis.title for axis in (self.x, self.y) if axis is not None and axis.reference is None]

    @cached_property
    def matrix(self) -> list[list[Cell]]:
        """The lower triangle of the win rates' pairs, where there are more than two principles."""
        wins = [axis for axis in self.axes if axis.key.startswith("win:")][:MOST_IN_MATRIX]
        if len(wins) < 3 or not self.page.points:
            return []
        cells = {(x, y): front_of(self.page.points, x, y) for x, y in itertools.combinations(wins, 2)}
        return [[Cell(x, y, small_drawing_of(cells[x, y]), f"?{urlencode({'x': x.key, 'y': y.key})}#front",
                      (x, y) == (self.x, self.y)) for x in wins[:row]] for row, y in enumerate(wins) if row]

    @cached_property
    def importances(self) -> list[FieldRow]:
        """Every varied field, the most important one first; repetitions are no setting."""
        axis = self.importance_of
        results = [result for result in self.page.results if axis is not None and axis.key in result.values]
        if axis is None or not results:
            return []
        numbers = [result.values[axis.key].value for result in results]
        rows = [FieldRow(path, _importance([result.varied.get(path) for result in results], numbers))
                for path in self.page.paths if path != REPEAT]
        return sorted(rows, key=lambda row: -(row.importance.explained or -1.0))


def _importance(settings: Sequence[Any], numbers: Sequence[float]) -> Importance:
    return importance(settings, numbers, draws=400)
