"""Queries of the run list and the frame; their number does not depend on the number of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from training.config.principles import library
from webapp.accounts.models import Team
from webapp.principles.models import Principle
from webapp.principles.selectors import principles_by_name
from webapp.runs.eta import Estimate, estimates, spans_of
from webapp.runs.models import MetricChunk, Run, RunStage, Stage
from webapp.runs.progress import Shown, elapsed, is_changing, run_fraction, run_sentence, run_state
from webapp.runs.series.curves import Series, bucket, join
from webapp.runs.waiting import ORDER, places, team_order

FEW_CHUNKS = 8  # a sparkline of a longer series is drawn from the chunks' means
HEAVY = ("stage__settings", "stage__details", "stage__summary", "stage__cause", "stage__remedy")


@dataclass(frozen=True)
class Weighted:
    """A principle with its weight in a recipe; the share of a gauge is the word, for it has no weight."""

    principle: Principle
    weight: float
    share: str


@dataclass(frozen=True)
class Win:
    """How often the judge prefers the policy to its base model, with the 95% interval."""

    rate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Steering:
    """What people may do with a run's place in the order of their team's unfinished runs."""

    can_rise: bool
    can_fall: bool
    can_pause: bool
    can_go_on: bool


@dataclass(frozen=True)
class ListRow:
    run: Run
    state: Shown
    sentence: str
    estimate: Estimate | None
    steering: Steering
    is_changing: bool
    weighted: list[Weighted]
    scalarization: str
    sparkline: str
    kl: float | None
    win: Win | None
    seconds: float | None


def run_rows(team: Team, runs: Sequence[Run]) -> list[ListRow]:
    """A page of the list: ten queries, two of them for the order of all waiting runs."""
    stages: dict[int, list[Stage]] = defaultdict(list)
    for use in RunStage.objects.filter(run__in=runs).order_by("position").select_related("stage").defer(*HEAVY):
        stages[use.run_id].append(use.stage)
    wins = {run: win_of(overall) for run, overall in RunStage.objects.filter(
        run__in=runs, stage__kind="evaluate").values_list("run_id", "stage__summary__overall")}
    ppo = {run: next((stage.pk for stage in of_run if stage.kind == "ppo"), 0) for run, of_run in stages.items()}
    rewards, kls = _short_series(list(ppo.values()))
    names, place, order = principles_by_name(team), places(), team_order(team)
    left = estimates(runs, stages, spans_of(runs))
    return [
        ListRow(run, run_state(run, stages[run.pk], place.get(run.pk)), run_sentence(run, stages[run.pk]),
                left.get(run.pk), steering(run, order), is_changing(run, stages[run.pk]), weighted(run.recipe, names),
                run.recipe.get("scalarization", {}).get("function", "").replace("_", " "),
                polyline(rewards.get(ppo.get(run.pk, 0))), _last(kls.get(ppo.get(run.pk, 0))), wins.get(run.pk),
                elapsed(run.created_at, run.finished_at) if run.finished_at or run.status == "running" else None)
        for run in runs
    ]


def steering(run: Run, order: Sequence[int]) -> Steering:
    """`order` from `team_order`."""
    is_active = run.status == Run.Status.RUNNING
    is_in = run.pk in order
    return Steering(is_in and run.pk != order[0], is_in and run.pk != order[-1], is_active and not run.paused,
                    is_active and run.paused)


def weighted(recipe: dict[str, Any], names: dict[str, Principle]) -> list[Weighted]:
    """The recipe's principles with their shares; one that the team no longer has is shown by name only."""
    chosen = recipe.get("principles", [])
    total = sum(abs(choice["weight"]) for choice in chosen if not _is_gauge(choice)) or 1.0
    return [Weighted(names.get(choice["name"]) or _stand_in(choice["name"]), choice["weight"],
                     "gauge" if _is_gauge(choice) else
                     f"{'−' if choice['weight'] < 0 else ''}{abs(choice['weight']) / total:.0%}") for choice in chosen]


def _is_gauge(choice: dict[str, Any]) -> bool:
    return choice.get("serves") == "gauge"


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


class Others(NamedTuple):
    """The other runs under way: how many, and what they do: ' queued', ' (1 running, 2 queued)'."""

    number: int
    words: str


@dataclass(frozen=True)
class Now:
    """What is at work, for the frame, and how many runs wait."""

    run: Run
    state: Shown
    sentence: str
    percent: int
    estimate: Estimate | None
    others: Others | None


def running_now(team: Team) -> Now | None:
    """The first run with a stage at work, or else the first that waits; nothing where no run is under way."""
    runs = list(Run.objects.of(team).filter(status=Run.Status.RUNNING).only(
        "id", "name", "status", "team", "paused", "place").order_by(ORDER))
    if not runs:
        return None
    working = RunStage.objects.filter(run__in=runs, stage__status=Stage.Status.RUNNING)
    at_work = set(working.values_list("run", flat=True))
    run = next((run for run in runs if run.pk in at_work), None) or next(
        (run for run in runs if not run.paused), runs[0])
    stages = [use.stage for use in RunStage.objects.filter(run=run).order_by("position").select_related("stage").defer(
        *HEAVY)]
    left = estimates([run], {run.pk: stages}, spans_of([run])).get(run.pk)
    place = None if run.pk in at_work else places().get(run.pk)
    return Now(run, run_state(run, stages, place), run_sentence(run, stages), round(100 * run_fraction(stages)),
               left, _others([other for other in runs if other != run], at_work))


def _others(runs: Sequence[Run], at_work: set[int]) -> Others | None:
    running = sum(run.pk in at_work for run in runs)
    paused = sum(run.paused and run.pk not in at_work for run in runs)
    counts = ((running, "running"), (len(runs) - running - paused, "queued"), (paused, "paused"))
    kinds = [(count, what) for count, what in counts if count]
    if not kinds:
        return None
    words = kinds[0][1] if len(kinds) == 1 else f"({', '.join(f'{count} {what}' for count, what in kinds)})"
    return Others(len(runs), f" {words}")
