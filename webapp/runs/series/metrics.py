"""The series of a run for the charts, and as CSV."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from asgiref.sync import sync_to_async
from django.db.models import Max
from django.http import QueryDict

from webapp.runs.models import MetricChunk, Run, RunStage
from webapp.runs.series.curves import Window, chart_series, csv_lines, read_series
from webapp.runs.series.stacks import stack_of, stacked

MOST_TAGS = 100


@dataclass(frozen=True)
class ChartQuery:
    """The query of a chart: the tags, and the part of them to show."""

    tags: frozenset[str]
    window: Window

    @classmethod
    def from_query(cls, query: QueryDict) -> ChartQuery:
        """Raises ValueError, naming what cannot be used."""
        tags = frozenset(tag for tag in query.get("tags", "").split(",") if tag)
        if len(tags) > MOST_TAGS:
            raise ValueError(f"tags: at most {MOST_TAGS} in one request")
        axis = query.get("x", "step")
        if axis not in ("step", "time"):
            raise ValueError("x: must be 'step' or 'time'")
        width = _number(query, "width", 800.0) or 800.0
        return cls(tags, Window(
            int(min(max(width, 10), 8000)), _number(query, "from", None), _number(query, "to", None),
            min(max(_number(query, "smooth", 0.0) or 0.0, 0.0), 0.9999), "time" if axis == "time" else "step"))


def _number(query: QueryDict, name: str, default: float | None) -> float | None:
    text = query.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError as error:
        raise ValueError(f"{name}: '{text}' is not a number") from error
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name}: '{text}' is not a finite number")
    return value


def charts(run: Run, query: ChartQuery) -> dict[str, Any]:
    """Every series of the run that the query names (all if it names none), by column."""
    stages = {use.stage_id: use.stage for use in
              RunStage.objects.filter(run=run).select_related("stage").only("stage__id", "stage__rewinds", "run")}
    drawings, parts = [], defaultdict(list)
    for stage, tag, _ in series_index(list(stages)):
        if not query.tags or tag in query.tags:
            stack = stack_of(tag)
            series = read_series(stage, tag, times=query.window.axis == "time")
            drawings.append({"stage": stage, "tag": tag, **chart_series(series, query.window)})
            if stack is not None:
                parts[stage, stack].append((drawings[-1], series))
    for members in parts.values():
        columns = stacked([series for _, series in members], query.window)
        for (drawing, _), stack_columns in zip(members, columns, strict=True):
            drawing["stack"] = stack_columns
    return {"stages": {stage.pk: stage.rewinds for stage in stages.values()}, "series": drawings}


async def as_csv(run: Run) -> AsyncIterator[str]:
    """Every point of every series; one series is in memory at a time, and is sent before the next one is read."""
    yield "stage,tag,step,time,value\n"
    names, index = await sync_to_async(_names_and_series)(run)
    for stage, tag in index:
        for part in csv_lines(names[stage], tag, await sync_to_async(read_series)(stage, tag)):
            yield part


def _names_and_series(run: Run) -> tuple[dict[int, str], list[tuple[int, str]]]:
    names = dict(RunStage.objects.filter(run=run).values_list("stage_id", "name"))
    return names, [(stage, tag) for stage, tag, _ in series_index(list(names))]


def newest_values(stages: Collection[int], tags: Collection[str]) -> dict[int, dict[str, float]]:
    """The newest value of some series, by stage and tag: one query."""
    chunks = MetricChunk.objects.filter(stage__in=stages, tag__in=tags).order_by("index")
    newest: dict[int, dict[str, float]] = {}
    for stage, tag, values in chunks.values_list("stage", "tag", "values"):
        newest.setdefault(stage, {})[tag] = float(np.frombuffer(bytes(values), "<f8")[-1])
    return newest


def series_index(stages: Sequence[int]) -> list[list[Any]]:
    """[stage, tag, last step] of every series of some stages."""
    rows = MetricChunk.objects.filter(stage__in=stages).values_list("stage", "tag").annotate(Max("last_step"))
    return [list(row) for row in rows.order_by("stage", "tag")]
