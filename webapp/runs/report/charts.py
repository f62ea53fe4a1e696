"""The charts of a report as SVG coordinates: curves of several runs as small multiples, and win rates with whiskers.

Nothing is sampled away: a curve keeps the minimum, the maximum and the last value of each of its columns (see
`webapp.runs.series.curves`). Left out: smoothing and zoom, which need the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.runs.compare.compared_runs import ComparedRun
from webapp.runs.compare.curves import curves
from webapp.runs.compare.final_numbers import Block, Cell
from webapp.runs.series.curves import Window
from webapp.runs.series.metrics import ChartQuery, series_index
from webapp.runs.series.scales import Scale, Tick, ticks

COLUMNS = 160  # of a curve: two letters' width each in the file, a pixel and a half on the page
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320.0, 170.0, 44.0, 18.0, 8.0, 24.0
BAR_WIDTH, BAR_LEFT, BAR_ROW = 320.0, 44.0, 18.0
TITLES = {"reward/total": "Reward", "kl/mean": "KL to the reference, nats",
          "response/length": "Response length, tokens"}


@dataclass(frozen=True)
class Line:
    """One run's curve: `path` through the last values, `band` around the extremes, "" where every point is drawn."""

    compared: ComparedRun
    path: str
    band: str


@dataclass(frozen=True)
class Curves:
    """A chart with a line per run. `words` say first and last values, for those who do not see it."""

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    words: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Whisker:
    """A win rate with its interval, in the chart's coordinates."""

    compared: ComparedRun
    x: float
    low: float
    high: float
    y: float
    cell: Cell


@dataclass(frozen=True)
class Whiskers:
    """The win rates of all runs on one principle, or overall; `half` is where a policy is as good as its base."""

    title: str
    rows: list[Whisker]
    half: float
    height: float
    width: float = BAR_WIDTH


def curve_charts(runs: Sequence[ComparedRun]) -> list[Curves]:
    """Reward, KL, length, each principle's standardised reward, and each gauge: two queries for all runs."""
    stages = {compared.ppo.pk: compared for compared in runs if compared.ppo is not None}
    tags = _tags({tag for _, tag, _ in series_index(list(stages))})
    by_tag: dict[str, list[dict[str, Any]]] = {tag: [] for tag in tags}
    if tags:
        for series in curves(runs, ChartQuery(frozenset(tags), Window(COLUMNS))):
            by_tag[series["tag"]].append(series)
    charts = [_chart(_title(tag), by_tag[tag], runs) for tag in tags]
    return [chart for chart in charts if chart is not None]


def _tags(known: set[str]) -> list[str]:
    first = [tag for tag in TITLES if tag in known]
    return first + sorted(tag for tag in known if tag.startswith("gauge/") or
                          tag.startswith("principle/") and tag.endswith("/standardised"))


def _title(tag: str) -> str:
    if tag in TITLES:
        return TITLES[tag]
    parts = tag.split("/")
    return f"{parts[1]}, {'sd' if parts[0] == 'principle' else 'a gauge, in its own units'}"


def _chart(title: str, of_stages: Sequence[dict[str, Any]], runs: Sequence[ComparedRun]) -> Curves | None:
    """None where no series has a finite value."""
    numbers = [value for series in of_stages for column in (series["last"], series["low"], series["high"])
               for value in column or () if value is not None]
    steps = [step for series in of_stages for step in series["x"]]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    room = (high - low) * 0.05 or abs(high) * 0.1 or 0.5
    x = Scale(min(steps), max(max(steps), min(steps) + 1), LEFT, WIDTH - RIGHT)
    y = Scale(low - room, high + room, HEIGHT - BOTTOM, TOP)
    by_stage = {series["stage"]: series for series in of_stages}
    with_series = [(compared, by_stage[compared.ppo.pk]) for compared in runs
                   if compared.ppo is not None and compared.ppo.pk in by_stage]
    lines = [Line(compared, _path(series["x"], series["last"], x, y), _band(series, x, y))
             for compared, series in with_series]
    words = "; ".join(f"{compared.letter} from {_first(series['last']):.3g} to {_first(series['last'][::-1]):.3g}"
                      for compared, series in with_series)
    return Curves(title, lines, ticks(x, about=3), ticks(y, about=4), f"{title}: {words}".replace("-", "−"))


def _first(values: Sequence[float | None]) -> float:
    return next((value for value in values if value is not None), math.nan)


def _path(steps: Sequence[float], values: Sequence[float | None], x: Scale, y: Scale) -> str:
    """A path that is interrupted where there is no number."""
    parts, pen_is_up = [], True
    for step, value in zip(steps, values, strict=True):
        if value is not None:
            parts.append(f"{'M' if pen_is_up else 'L'}{_at(x, step)} {_at(y, value)}")
        pen_is_up = value is None
    return "".join(parts)


def _band(series: dict[str, Any], x: Scale, y: Scale) -> str:
    """The outline of minimum and maximum."""
    if series["low"] is None:
        return ""
    known = [(step, low, high) for step, low, high in zip(series["x"], series["low"], series["high"], strict=True)
             if low is not None and high is not None]
    outline: Iterable[tuple[float, float]] = [(step, high) for step, _, high in known] + [
        (step, low) for step, low, _ in reversed(known)]
    return "M" + "L".join(f"{_at(x, step)} {_at(y, value)}" for step, value in outline) + "Z" if known else ""


def _at(scale: Scale, value: float) -> str:
    return f"{scale.at(value):g}"


def whisker_charts(runs: Sequence[ComparedRun], blocks: Sequence[Block]) -> list[Whiskers]:
    """A chart for each share among the final numbers."""
    scale = Scale(0.0, 1.0, BAR_LEFT, BAR_WIDTH - 10)
    charts = []
    for row in (row for block in blocks for row in block.rows if row.kind == "share"):
        known = [(compared, cell) for compared, cell in zip(runs, row.cells, strict=True) if cell.estimate is not None]
        rows = [Whisker(compared, scale.at(cell.estimate.value), scale.at(cell.estimate.low),
                        scale.at(cell.estimate.high), BAR_ROW * (place + 0.5), cell)
                for place, (compared, cell) in enumerate(known) if cell.estimate is not None]
        if rows:
            title = row.principle.name if row.principle is not None else row.label
            charts.append(Whiskers(title, rows, scale.at(0.5), BAR_ROW * len(rows)))
    return charts
