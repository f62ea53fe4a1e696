"""The curves of several runs on one chart: which series they have in common, and their points, in one query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from webapp.runs.compare.compared_runs import ComparedRun
from webapp.runs.models import MetricChunk
from webapp.runs.series.curves import Series, chart_series, join
from webapp.runs.series.metrics import ChartQuery, series_index

ALWAYS = ("reward/total", "kl/mean")
PARTS = ("principle/", "gauge/")


def common_tags(runs: Sequence[ComparedRun]) -> list[str]:
    """Reward and KL of any run, and the series of each principle that at least two runs have; one query."""
    stages = {compared.ppo.pk for compared in runs if compared.ppo is not None}
    tags_of: dict[int, set[str]] = {}
    for stage, tag, _ in series_index(list(stages)):
        tags_of.setdefault(stage, set()).add(tag)
    counts = Counter(tag for compared in runs if compared.ppo is not None for tag in tags_of.get(compared.ppo.pk, ()))
    always = [tag for tag in ALWAYS if counts[tag]]
    return always + sorted(tag for tag, count in counts.items() if count > 1 and tag.startswith(PARTS))


def curves(runs: Sequence[ComparedRun], query: ChartQuery) -> list[dict[str, Any]]:
    """The points of the named series of every run's PPO. One query, and one series in memory at a time."""
    stages = {compared.ppo.pk for compared in runs if compared.ppo is not None}
    chunks = MetricChunk.objects.filter(stage__in=stages, tag__in=query.tags).order_by("stage", "tag", "index")
    columns = ("steps", "values") + (("times",) if query.window.axis == "time" else ())
    rows = chunks.values_list("stage", "tag", *columns).iterator(chunk_size=100)
    return [{"stage": stage, "tag": tag, **chart_series(_joined(series), query.window)}
            for (stage, tag), series in groupby(rows, key=lambda row: row[:2])]


def _joined(rows: Iterable[tuple[Any, ...]]) -> Series:
    """One series from its rows (stage, tag, steps, values, and times where they are asked for)."""
    return join((steps, values, times[0] if times else b"") for _, _, steps, values, *times in rows)
