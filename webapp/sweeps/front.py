"""The front of some points in two objectives: which no other one dominates, and the hypervolume of them all.

`plain_front` takes any points with a number, a title and values; `front_of` those of a sweep, with an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from django.core.cache import cache

from training.fronts.bootstrap import DRAWS, Interval, Sample, hypervolume_interval
from training.fronts.dominance import dominance_counts
from training.fronts.hypervolume import hypervolume
from training.run.artifacts import digest_of
from training.sweep import objectives as engine
from webapp.runs.models import Stage
from webapp.sweeps.objectives import Axis, Point, Value

_KEPT = 24 * 3600  # seconds that an interval stays in this process's cache


class Placed(Protocol):
    """What a front is of: `values` by the key of an axis, `address` of the page about it."""

    @property
    def number(self) -> int: ...

    @property
    def title(self) -> str: ...

    @property
    def values(self) -> Mapping[str, Value]: ...

    @property
    def address(self) -> str: ...


P = TypeVar("P", bound=Placed)


@dataclass(frozen=True)
class FrontPoint(Generic[P]):
    """A point with its two values. `dominated_by`: by how many others; 0 on the front."""

    point: P
    x: Value
    y: Value
    dominated_by: int

    @property
    def is_on_front(self) -> bool:
        return self.dominated_by == 0


@dataclass(frozen=True)
class Front(Generic[P]):
    """`why_no_interval`: in words, where the hypervolume has none."""

    x: Axis
    y: Axis
    points: list[FrontPoint[P]]
    reference: tuple[float, float]
    volume: float
    interval: Interval | None
    why_no_interval: str

    @property
    def best(self) -> list[FrontPoint[P]]:
        return [point for point in self.points if point.is_on_front]


def plain_front(points: Sequence[P], x: Axis, y: Axis) -> Front[P]:
    """The points that have both values; the hypervolume has no interval."""
    known = [point for point in points if x.key in point.values and y.key in point.values]
    pairs = [(point.values[x.key], point.values[y.key]) for point in known]
    directions = [x.direction, y.direction]
    plain = [(first.value, second.value) for first, second in pairs]
    counts = dominance_counts(plain, directions) if plain else []
    shown = [FrontPoint(point, *pair, count) for point, pair, count in zip(known, pairs, counts, strict=True)]
    reference = (_worst(x, [first for first, _ in plain]), _worst(y, [second for _, second in plain]))
    return Front(x, y, shown, reference, hypervolume(plain, reference, directions) if plain else 0.0, None, "")


def front_of(points: Sequence[Point], x: Axis, y: Axis, with_interval: bool = False) -> Front[Point]:
    """The points of a sweep that have both values.

    Args:
        with_interval: whether to read the outcome of each prompt for the hypervolume's interval: about a second for
            fifty runs, once; it is kept afterwards.
    """
    front = plain_front(points, x, y)
    if not front.points or not with_interval:
        return front
    interval, why = _interval([shown.point for shown in front.points], (x, y), front.reference)
    return replace(front, interval=interval, why_no_interval=why)


def _worst(axis: Axis, numbers: Sequence[float]) -> float:
    if axis.reference is not None:
        return axis.reference
    return (min(numbers) if axis.direction == "higher" else max(numbers)) if numbers else 0.0


def _interval(points: Sequence[Point], axes: tuple[Axis, Axis],
              reference: tuple[float, float]) -> tuple[Interval | None, str]:
    if lacking := [axis.title for axis in axes if not axis.verdict and axis.key != engine.KL]:
        return None, f"It has no interval: {' and '.join(lacking)} keeps no outcome of each prompt."
    evaluations = sorted({result.evaluate for point in points for result in point.results})
    key = f"sweeps:volume:{digest_of([evaluations, [axis.key for axis in axes], reference])}"
    if (cached := cache.get(key)) is None:
        cached = _computed(points, axes, reference, evaluations)
        cache.set(key, cached, _KEPT)
    interval: Interval | None = cached[0]
    return interval, "" if interval else "It has no interval: some evaluation kept no outcome of each prompt."


def _computed(points: Sequence[Point], axes: tuple[Axis, Axis], reference: tuple[float, float],
              evaluations: Sequence[int]) -> tuple[Interval | None]:
    stages = {stage.pk: stage for stage in Stage.objects.filter(pk__in=evaluations).only("team_id", "identity")}
    objectives = [engine.Objective(axis.verdict or engine.KL, axis.direction, worst)
                  for axis, worst in zip(axes, reference, strict=True)]
    samples = [_sample(point, axes, objectives, stages) for point in points]
    known = [sample for sample in samples if sample is not None]
    if len(known) < len(samples):
        return (None,)
    return (hypervolume_interval(known, reference, [axis.direction for axis in axes], DRAWS),)


def _sample(point: Point, axes: tuple[Axis, Axis], objectives: Sequence[engine.Objective],
            stages: dict[int, Stage]) -> Sample | None:
    """The outcomes of a point's prompts; of repetitions on the same prompts their means."""
    samples = []
    for result in point.results:
        values = {objective.name: engine.Measured(result.values[axis.key].value)
                  for objective, axis in zip(objectives, axes, strict=True)}
        try:
            sample = engine.sample_of(objectives, values, {"evaluate": stages[result.evaluate].folder})
        except (OSError, KeyError, ValueError):  # the files were deleted
            return None
        if sample is None or not len(sample.outcomes):
            return None
        samples.append(sample)
    if len({sample.prompts for sample in samples}) > 1:
        return None
    return Sample(np.mean([sample.outcomes for sample in samples], axis=0), samples[0].prompts)
