"""A front as its page shows it: where each point stands, which none dominates, and how much they cover together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
from django.core.cache import cache
from django.urls import reverse

from training.fronts.bootstrap import Interval, Sample, hypervolume_gain_interval, hypervolume_interval
from training.quality.win_rates import WinRate, outcome, win_rate
from training.run.artifacts import digest_of
from webapp.fronts.models import PointAnswer, PolicyFront, PolicyPoint
from webapp.playground.services import LONGEST_TITLE
from webapp.runs.head_to_head.questions import OVERALL
from webapp.sweeps.chart import Drawing, drawing_of, shown
from webapp.sweeps.front import Front, plain_front
from webapp.sweeps.objectives import Axis, Value

REFERENCE = (0.0, 0.0)  # no win at all on either principle
Kind = PolicyPoint.Kind
_KEPT = 24 * 3600  # seconds that an interval stays in the cache
_IN_ORDER = {Kind.LINE, Kind.CORNER, Kind.CHECKPOINT}  # kinds whose points are connected


@dataclass(frozen=True)
class ShownPoint:
    """A point with its win rates against the base, by the key of an axis."""

    row: PolicyPoint
    rates: Mapping[str, WinRate]

    @property
    def number(self) -> int:
        return self.row.place + 1

    @property
    def title(self) -> str:
        return f"{self.number}: {self.row.label}"

    @property
    def address(self) -> str:
        return f"#point-{self.number}"

    @property
    def values(self) -> Mapping[str, Value]:
        return {key: Value(rate.win_rate, rate.low, rate.high) for key, rate in self.rates.items()}

    @property
    def steer(self) -> str:
        """The address of the steering page with the sliders at this point."""
        query = [("p", key) for key, _ in self.row.parts] + [("w", str(weight)) for _, weight in self.row.parts]
        return f"{reverse('playground:steer')}?{urlencode(query)}"

    @property
    def chat(self) -> str:
        """The address of the playground with this policy; "" where it would have to be saved as a mix before."""
        key = f"mix:{self.row.mix}" if self.row.mix else self.row.parts[0][0] if self.is_single else ""
        return f"{reverse('playground:page')}?{urlencode({'policy': key})}" if key else ""

    @property
    def name_of_mix(self) -> str:
        """What it is called where it is saved as a mix."""
        return self.row.label[:LONGEST_TITLE]

    @property
    def is_single(self) -> bool:
        return len(self.row.parts) == 1 and self.row.parts[0][1] == 1


class Row(NamedTuple):
    """A row of the table: the win rate on each axis in words."""

    point: ShownPoint
    cells: list[str]
    is_on_front: bool
    dominated_by: int | None


class Gain(NamedTuple):
    """What all points of a line cover, and what its two ends alone do."""

    points: int
    all: Interval
    ends: Interval
    beyond: Interval  # the difference of the two

    @property
    def added(self) -> float | None:
        """What the points between the ends add, as a share of what the ends cover."""
        return self.beyond.value / self.ends.value if self.ends.value else None


class FrontPage:
    """A front's page, in three queries. An axis that the address names and nobody knows is the default one."""

    def __init__(self, front: PolicyFront, query: Mapping[str, Any]) -> None:
        self.row = front
        self.points = list(front.points.order_by("place"))
        names = [question["name"] for question in front.questions]
        self.axes = [Axis(name, "Overall" if name == OVERALL else name, "share", "higher", 0.0, name)
                     for name in sorted(names, key=lambda name: name == OVERALL)]
        by_key = {axis.key: axis for axis in self.axes}
        first = by_key.get(str(query.get("x", "")), self.axes[0])
        second = by_key.get(str(query.get("y", "")), self.axes[min(1, len(self.axes) - 1)])
        self.x, self.y = first, second if second != first else next(
            (axis for axis in self.axes if axis != first), first)

    @cached_property
    def judged(self) -> list[ShownPoint]:
        return [ShownPoint(point, {name: rate for name, column in point.outcomes.items()
                                   if (rate := win_rate(column)).n})
                for point in self.points if point.outcomes]

    @cached_property
    def front(self) -> Front[ShownPoint] | None:
        """None while no point has both values."""
        front = plain_front(self.judged, self.x, self.y)
        return front if front.points else None

    @cached_property
    def drawing(self) -> Drawing | None:
        return drawing_of(self.front) if self.front else None

    @property
    def lines(self) -> list[str]:
        """The points of a line, a grid of two corners or a row of checkpoints, connected in their order."""
        places: dict[str, list[tuple[int, str]]] = {}
        for mark in self.drawing.marks if self.drawing else []:
            row = mark.point.point.row
            if row.kind in _IN_ORDER and not (row.kind == Kind.CORNER and self.corners > 2):
                places.setdefault(row.kind, []).append((row.place, f"{mark.x},{mark.y}"))
        return [" ".join(place for _, place in sorted(series)) for series in places.values() if len(series) > 1]

    @property
    def corners(self) -> int:
        return len({key for point in self.points if point.kind == Kind.CORNER for key, _ in point.parts})

    @property
    def rows(self) -> list[Row]:
        """Every point, judged or not."""
        counts = {shown.point.row.pk: shown.dominated_by for shown in self.front.points} if self.front else {}
        judged = {point.row.pk: point for point in self.judged}
        rows = []
        for point in self.points:
            of_point = judged.get(point.pk) or ShownPoint(point, {})
            values = of_point.values
            rows.append(Row(of_point, [shown(values[axis.key], axis) if axis.key in values else "–"
                                       for axis in self.axes], counts.get(point.pk) == 0, counts.get(point.pk)))
        return rows

    @property
    def volume(self) -> Interval | None:
        return self._volume([shown.point for shown in self.front.points]) if self.front else None

    @property
    def gain(self) -> Gain | None:
        """For a line of which every point is judged."""
        line = [point for point in self.points if point.kind == Kind.LINE]
        placed = {shown.point.row.pk: shown.point for shown in self.front.points} if self.front else {}
        known = [placed[point.pk] for point in line if point.pk in placed]
        if len(known) < max(3, len(line)):
            return None
        return Gain(len(known), self._volume(known), self._volume([known[0], known[-1]]), self._volume(known, True))

    def _volume(self, points: Sequence[ShownPoint], beyond_ends: bool = False) -> Interval:
        """The hypervolume with its bootstrap interval over prompts, which all points share; or what it is larger by
        than that of the first and the last point."""
        columns = [[point.row.outcomes[axis.key] for axis in (self.x, self.y)] for point in points]
        key = f"fronts:volume:{digest_of([self.row.pk, beyond_ends, columns])}"
        known: Interval | None = cache.get(key)
        if known is None:
            samples = [Sample(np.array([[np.nan if (won := outcome(said)) is None else won for said in column]
                                        for column in pair], dtype=float).T, self.row.pk) for pair in columns]
            directions = [self.x.direction, self.y.direction]
            known = (hypervolume_gain_interval(samples, (0, len(samples) - 1), REFERENCE, directions) if beyond_ends
                     else hypervolume_interval(samples, REFERENCE, directions))
            cache.set(key, known, _KEPT)
        return known

    @cached_property
    def answers(self) -> tuple[int, int]:
        """How many answers there are, and how many there will be."""
        own = [point for point in self.points if point.evaluation_id is None]
        known = [point for point in own if point.outcomes]
        made = PointAnswer.objects.filter(point__in=[point.pk for point in own if not point.outcomes]).count()
        return made + len(known) * self.row.prompts, len(own) * self.row.prompts
