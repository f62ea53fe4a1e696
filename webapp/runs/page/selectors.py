"""Queries of the run list and the frame; their number does not depend on the number of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import QuerySet

from training.config.principles import library
from webapp.accounts.models import Team
from webapp.principles.models import Principle
from webapp.principles.selectors import principles_by_name
from webapp.runs.models import MetricChunk, Run, RunStage, Stage
from webapp.runs.progress import elapsed, run_fraction, run_sentence
from webapp.runs.series.curves import Series, bucket, join

FEW_CHUNKS = 8  # a sparkline of a longer series is drawn from the chunks' means
BADGES = {"running": "is-running", "succeeded": "is-done", "failed": "is-failed", "cancelled": "is-stopped",
          "stopped": "is-stopped", "queued": "is-queued", "waiting": "is-waiting"}
HEAVY = ("stage__settings", "stage__details", "stage__summary", "stage__cause", "stage__remedy")


@dataclass(frozen=True)
class Weighted:
    """A principle with its weight in a recipe."""

    principle: Principle
    weight: float
    share: str


@dataclass(frozen=True)
class Win:
    """How often the judge prefers the policy to its base model, with the 95 % interval."""

    rate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ListRow:
    run: Run
    badge: str
    sentence: str
    weighted: list[Weighted]
    scalarization: str
    sparkline: str
    kl: float | None
    win: Win | None
    seconds: float | None


def run_filter(team: Team, text: str, status: str) -> QuerySet[Run]:
    runs = Run.objects.of(team).select_related("created_by").defer("file_digests")
    if status in Run.Status.values:
        runs = runs.filter(status=status)
    return runs.filter(name__icontains=text) if text else runs


def run_rows(team: Team, runs: Sequence[Run]) -> list[ListRow]:
    """A page of the list: five queries."""
    stages: dict[int, list[Stage]] = defaultdict(list)
    for use in RunStage.objects.filter(run__in=runs).order_by("position").select_related("stage").defer(*HEAVY):
        stages[use.run_id].append(use.stage)
    wins = {run: win_of(overall) for run, overall in RunStage.objects.filter(
        run__in=runs, stage__kind="evaluate").values_list("run_id", "stage__summary__overall")}
    ppo = {run: next((stage.pk for stage in of_run if stage.kind == "ppo"), 0) for run, of_run in stages.items()}
    rewards, kls = _short_series(list(ppo.values()))
    names = principles_by_name(team)
    return [
        ListRow(run, BADGES[run.status], run_sentence(run, stages[run.pk]), weighted(run.recipe, names),
                run.recipe.get("scalarization", {}).get("function", "").replace("_", " "),
                polyline(rewards.get(ppo.get(run.pk, 0))), _last(kls.get(ppo.get(run.pk, 0))), wins.get(run.pk),
                elapsed(run.created_at, run.finished_at) if run.finished_at or run.status == "running" else None)
        for run in runs
    ]


def weighted(recipe: dict[str, Any], names: dict[str, Principle]) -> list[Weighted]:
    """The recipe's principles with their shares; one that the team no longer has is shown by name only."""
    chosen = recipe.get("principles", [])
    total = sum(abs(choice["weight"]) for choice in chosen) or 1.0
    return [Weighted(names.get(choice["name"]) or _stand_in(choice["name"]), choice["weight"],
                     f"{'−' if choice['weight'] < 0 else ''}{abs(choice['weight']) / total:.0%}") for choice in chosen]


def _stand_in(name: str) -> Principle:
    shipped = library().get(name)
    return Principle(name=name, symbol=shipped.symbol if shipped else "●")


def win_of(overall: Any) -> Win | None:
    if not isinstance(overall, dict) or overall.get("win_rate") is None:
        return None
    return Win(overall["win_rate"], overall.get("low", 0.0), overall.get("high", 1.0), overall.get("n", 0))


def _short_series(stages: list[int]) -> tuple[dict[int, Series], dict[int, Series]]:
    """Rewards and KLs of some stages: for long reward series the chunks' means, for KL the last chunk."""
    tags = ("reward/total", "kl/mean")
    metas: dict[tuple[int, str], list[tuple[int, int, int, float]]] = defaultdict(list)
    for pk, stage, tag, last, n, total in MetricChunk.objects.filter(stage__in=stages, tag__in=tags).order_by(
            "index").values_list("pk", "stage", "tag", "last_step", "n", "total"):
        metas[stage, tag].append((pk, last, n, total))
    chunk_keys = [pk for (_, tag), chunks in metas.items() for pk, *_ in
              (chunks[-1:] if tag == "kl/mean" else chunks if len(chunks) <= FEW_CHUNKS else [])]
    blobs = {pk: (bytes(a), bytes(b), bytes(c)) for pk, a, b, c in
             MetricChunk.objects.filter(pk__in=chunk_keys).values_list("pk", "steps", "values", "times")}
    out: dict[str, dict[int, Series]] = {tag: {} for tag in tags}
    for (stage, tag), chunks in metas.items():
        columns = [blobs[pk] for pk, *_ in chunks if pk in blobs]
        out[tag][stage] = join(columns) if columns else Series(
            np.array([last for _, last, _, _ in chunks]), np.array([total / n for _, _, n, total in chunks]),
            np.zeros(len(chunks)))
    return out["reward/total"], out["kl/mean"]


def _last(series: Series | None) -> float | None:
    return float(series.values[-1]) if series is not None and len(series.values) else None


def polyline(series: Series | None, width: int = 96, height: int = 24) -> str:
    """Points of a sparkline in its own coordinates."""
    if series is None or len(series.values) < 2:
        return ""
    buckets = bucket(series.steps, series.values, width // 2)
    keep = np.isfinite(buckets.last)
    x, y = buckets.x[keep].astype(float), buckets.last[keep]
    if len(x) < 2:
        return ""
    across = (x - x[0]) / max(x[-1] - x[0], 1) * (width - 2) + 1
    spread = float(y.max() - y.min()) or 1.0
    down = height - 2 - (y - y.min()) / spread * (height - 4)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))


@dataclass(frozen=True)
class Now:
    """An active run, for the frame."""

    run: Run
    sentence: str
    percent: int


def running_now(team: Team) -> list[Now]:
    runs = list(Run.objects.of(team).filter(status=Run.Status.RUNNING).only("id", "name", "status", "team")[:5])
    stages: dict[int, list[Stage]] = defaultdict(list)
    for use in RunStage.objects.filter(run__in=runs).order_by("position").select_related("stage").defer(*HEAVY):
        stages[use.run_id].append(use.stage)
    return [Now(run, run_sentence(run, stages[run.pk]), round(100 * run_fraction(stages[run.pk]))) for run in runs]
