"""The series of a run as the charts ask for them, and as CSV."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.http import QueryDict

from webapp.runs.curves import Axis, Series, picture, read_series
from webapp.runs.models import MetricChunk, Run, RunStage
from webapp.runs.run_page import series_index

MOST_TAGS = 100


@dataclass(frozen=True)
class Asked:
    """The query of a chart: which tags, for how many pixels, which window, how smooth."""

    tags: frozenset[str]
    width: int
    low: float | None
    high: float | None
    weight: float
    axis: Axis

    @classmethod
    def from_query(cls, query: QueryDict) -> Asked:
        """Raises ValueError, naming what cannot be used."""
        tags = frozenset(tag for tag in query.get("tags", "").split(",") if tag)
        if len(tags) > MOST_TAGS:
            raise ValueError(f"tags: at most {MOST_TAGS} at a time")
        axis = query.get("x", "step")
        if axis not in ("step", "time"):
            raise ValueError("x: 'step' or 'time'")
        width = _number(query, "width", 800.0) or 800.0
        return cls(tags, int(min(max(width, 10), 8000)), _number(query, "from", None), _number(query, "to", None),
                   min(max(_number(query, "smooth", 0.0) or 0.0, 0.0), 0.9999), "time" if axis == "time" else "step")


def _number(query: QueryDict, name: str, default: float | None) -> float | None:
    text = query.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError as error:
        raise ValueError(f"{name}: '{text}' is no number") from error
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name}: '{text}' is no finite number")
    return value


def pictures(run: Run, asked: Asked) -> dict[str, Any]:
    """Every asked series of the run (all, where no tag is named), column by column."""
    stages = {use.stage_id: use.stage for use in
              RunStage.objects.filter(run=run).select_related("stage").only("stage__id", "stage__rewinds", "run")}
    found = []
    for stage, tag, _ in series_index(list(stages)):
        if not asked.tags or tag in asked.tags:
            series = read_series(stage, tag, times=asked.axis == "time")
            found.append({"stage": stage, "tag": tag, **picture(
                series, width=asked.width, low=asked.low, high=asked.high, weight=asked.weight, axis=asked.axis)})
    return {"stages": {stage.pk: stage.rewinds for stage in stages.values()}, "series": found}


def every_series(run: Run) -> Iterator[tuple[str, str, Series]]:
    """(stage, tag, series) of everything, read one at a time."""
    names = dict(RunStage.objects.filter(run=run).values_list("stage_id", "name"))
    for stage, tag, _ in series_index(list(names)):
        yield names[stage], tag, read_series(stage, tag)


def newest_values(stages: Collection[int], tags: Collection[str]) -> dict[int, dict[str, float]]:
    """The newest value of some series, by stage and tag: one query."""
    chunks = MetricChunk.objects.filter(stage__in=stages, tag__in=tags).order_by("index")
    found: dict[int, dict[str, float]] = {}
    for stage, tag, values in chunks.values_list("stage", "tag", "values"):
        found.setdefault(stage, {})[tag] = float(np.frombuffer(bytes(values), "<f8")[-1])
    return found
