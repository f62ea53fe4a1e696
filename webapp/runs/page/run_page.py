"""The data of one run's page: pipeline, failure, result, samples, log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from django.db.models import Max
from django.urls import reverse

from training.errors import JudgeUnavailable
from training.run.baselines import gauges, reward_principles
from webapp.judges.models import Connection
from webapp.judges.selectors import saved_judge_of
from webapp.principles.measures import quantity_of
from webapp.principles.models import Principle
from webapp.principles.selectors import principles_by_name
from webapp.runs.eta import Estimate, estimates, spans_of
from webapp.runs.models import LogLine, MetricChunk, Run, RunStage, Sample, Stage
from webapp.runs.page.changes import changes_of
from webapp.runs.page.quality_cards import ModelCard, model_cards
from webapp.runs.page.selectors import Steering, Weighted, Win, steering, weighted, win_of
from webapp.runs.page.weight_rows import FittedWeights, fitted_weights
from webapp.runs.progress import (
    KINDS,
    Shown,
    elapsed,
    fraction,
    is_changing,
    run_fraction,
    run_sentence,
    run_state,
    stage_badge,
    stage_text,
)
from webapp.runs.series.metrics import series_index
from webapp.runs.services import CHECKS
from webapp.runs.waiting import places, team_order

LOG_TAIL = 200
MOST_BOXES = 6  # stages of one step that the pipeline shows one by one


@dataclass(frozen=True)
class StageBox:
    """A stage as the pipeline shows it."""

    stage: Stage
    name: str
    badge: str
    text: str
    fraction: float
    reused_from: int | None
    principle: Principle | None

    @property
    def seconds(self) -> float | None:
        return elapsed(self.stage.started_at, self.stage.finished_at) if self.stage.finished_at else None


@dataclass(frozen=True)
class Step:
    """One step of the pipeline: a stage, or all parallel stages of one kind."""

    kind: str
    title: str
    boxes: list[StageBox]

    @property
    def reused_from(self) -> int | None:
        """The run that computed all of its stages, if it was a single one."""
        runs = {box.reused_from for box in self.boxes}
        return runs.pop() if len(runs) == 1 else None

    @property
    def is_long(self) -> bool:
        """Whether only the stages that need a look are shown, and the others folded."""
        return len(self.boxes) > MOST_BOXES

    @property
    def done(self) -> int:
        return sum(box.badge == "is-done" for box in self.boxes)

    @property
    def in_sight(self) -> list[StageBox]:
        """Of a long step: the stages that failed, stopped or are at work, the first few of them."""
        return [box for box in self.boxes if box.badge in ("is-failed", "is-stopped", "is-running")][:MOST_BOXES]

    @property
    def folded(self) -> list[StageBox]:
        in_sight = self.in_sight
        return [box for box in self.boxes if box not in in_sight]

    @property
    def badge(self) -> str:
        """The most important of its stages' states."""
        badges = {box.badge for box in self.boxes}
        order = ("is-failed", "is-stopped", "is-running", "is-queued", "is-waiting")
        if badges == {"is-done"}:
            return "is-reused" if all(box.reused_from for box in self.boxes) else "is-done"
        return next((badge for badge in order if badge in badges), "is-running")


class RunPage:
    """Everything about one run, read once; each property is one part of the page."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.uses = list(RunStage.objects.filter(run=run).order_by("position").select_related("stage"))
        self.stages = [use.stage for use in self.uses]
        self.principles = principles_by_name(run.team)

    @cached_property
    def state(self) -> Shown:
        return run_state(self.run, self.stages, places().get(self.run.pk))

    @cached_property
    def estimate(self) -> Estimate | None:
        return estimates([self.run], {self.run.pk: self.stages}, spans_of([self.run])).get(self.run.pk)

    @cached_property
    def steering(self) -> Steering:
        return steering(self.run, team_order(self.run.team))

    @property
    def is_changing(self) -> bool:
        return is_changing(self.run, self.stages)

    @property
    def sentence(self) -> str:
        return run_sentence(self.run, self.stages)

    @property
    def fraction(self) -> float:
        return run_fraction(self.stages)

    @property
    def weighted(self) -> list[Weighted]:
        return weighted(self.run.recipe, self.principles)

    @property
    def steps(self) -> list[Step]:
        first = dict(RunStage.objects.filter(stage__in=self.stages, reused=False).order_by("-run_id").values_list(
            "stage_id", "run_id"))
        steps: list[Step] = []
        for use in self.uses:
            stage = use.stage
            box = StageBox(stage, use.name, stage_badge(self.run, stage), stage_text(self.run, stage), fraction(stage),
                           first.get(stage.pk) if use.reused else None, self._principle(stage.principle))
            if steps and steps[-1].kind == stage.kind:
                steps[-1].boxes.append(box)
            else:
                steps.append(Step(stage.kind, KINDS.get(stage.kind, stage.kind), [box]))
        return steps

    def _principle(self, name: str) -> Principle | None:
        return (self.principles.get(name) or Principle(name=name)) if name else None

    @property
    def own_principles(self) -> list[str]:
        """Names of principles that stand in the recipe and not in the team's library; they have no hue of their own."""
        return [choice.name for choice in self.run.stored.recipe.principles if choice.name not in self.principles]

    @property
    def failed(self) -> Stage | None:
        if self.run.status != Run.Status.FAILED:
            return None
        return next((stage for stage in self.stages if stage.status == Stage.Status.FAILED), None)

    @cached_property
    def failed_judge(self) -> Connection | None:
        """The saved judge that could not be asked, where that is why the run failed."""
        if self.failed is None or self.failed.failure_kind != JudgeUnavailable.kind:
            return None
        return saved_judge_of(self.run.team, self.run.stored.recipe.judge)

    @property
    def is_doubtful(self) -> bool:
        """Whether a check of labels or preference models stopped the run, so that a person may go on past it."""
        return self.failed is not None and self.failed.failure_kind in CHECKS

    @property
    def failed_principle(self) -> Principle | None:
        """The team's principle whose stage failed; None where the stage is of none, or the team no longer has it."""
        return self.principles.get(self.failed.principle) if self.failed is not None else None

    @property
    def can_resume(self) -> bool:
        return self.run.status in {Run.Status.FAILED, Run.Status.CANCELLED}

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The win rate with its interval, over all and on each principle."""
        summary = next((stage.summary for stage in self.stages if stage.kind == "evaluate" and stage.summary), None)
        overall = win_of(summary.get("overall")) if summary else None
        if summary is None or overall is None:
            return None
        wins = {name: win_of(result) for name, result in summary.get("principles", {}).items()}
        rows: list[tuple[Principle | None, Win]] = [(self._principle(name), win) for name, win in wins.items() if win]
        return {"overall": overall, "counts": summary["overall"], "rows": rows,
                "examples": summary.get("examples", [])[:6], "best_of_n": self._best_of_n(summary.get("best_of_n")),
                "by_measures": self.run.stored.recipe.is_measured,
                "changes": changes_of(summary, self._principle, gauges(self.run.stored.recipe), {
                    choice.name: quantity_of(choice.measure) for choice in self.run.stored.recipe.principles
                    if choice.measure is not None})}

    def _best_of_n(self, summary: dict[str, Any] | None) -> dict[str, Any] | None:
        """The best-of-n baseline, with the policy's KL to compare."""
        if not summary:
            return None
        ppo: dict[str, Any] = next((row.summary for row in self.stages if row.kind == "ppo" and row.summary), {})
        return {"win": win_of(summary["overall"]), "n": summary["n"], "kl": summary["kl"],
                "policy_kl": ppo.get("last", {}).get("kl/mean")}

    @property
    def cards(self) -> list[ModelCard]:
        """One quality card per preference model."""
        return model_cards(self.stages, self._principle)

    @property
    def fitted_weights(self) -> FittedWeights | None:
        """Weights that were fitted to choices, with their uncertainty."""
        summary = next((stage.summary for stage in self.stages if stage.kind == "weights" and stage.summary), None)
        return fitted_weights(summary) if summary else None

    @property
    def log(self) -> list[LogLine]:
        names = {use.stage_id: use.name for use in self.uses}
        lines = list(LogLine.objects.filter(stage__in=names).order_by("-time", "-seq")[:LOG_TAIL])[::-1]
        for line in lines:
            line.stage_name = names[line.stage_id]  # type: ignore[attr-defined]
        return lines

    @property
    def corrections(self) -> list[str]:
        """What was said about labels that people corrected while the run waited."""
        lines = LogLine.objects.filter(stage__in=self.stages, seq=0, code=LogLine.CORRECTED)
        return list(lines.order_by("time").values_list("message", flat=True))

    @property
    def failure_log(self) -> list[LogLine]:
        return list(LogLine.objects.filter(stage=self.failed).order_by("-seq")[:12])[::-1] if self.failed else []

    @property
    def numbers(self) -> list[dict[str, Any]]:
        """The last value of every series, shown without JavaScript."""
        return latest_numbers({use.stage_id: use.name for use in self.uses})

    @property
    def live(self) -> dict[str, Any]:
        """The initial data for the page's script."""
        log = dict(LogLine.objects.filter(stage__in=self.stages).values_list("stage").annotate(Max("seq")))
        samples = dict(Sample.objects.filter(stage__in=self.stages).values_list("stage").annotate(Max("pk")))
        recipe = self.run.stored.recipe
        return {
            "run": self.run.pk,
            "metrics": reverse("runs:metrics", args=[self.run.pk]),
            "samples": reverse("runs:samples", args=[self.run.pk]),
            "state": reverse("runs:state", args=[self.run.pk]),
            "run_state": self.state.words,
            "stages": [{"id": use.stage_id, "name": use.name, "kind": use.stage.kind, "principle": use.stage.principle,
                        "status": use.stage.status, "rewinds": use.stage.rewinds, "log": log.get(use.stage_id, 0),
                        "sample": samples.get(use.stage_id, -1)} for use in self.uses],
            "principles": list(reward_principles(recipe)),
            "symbols": {item.principle.name: item.principle.symbol for item in self.weighted},
            "kl_target": recipe.ppo.kl.target if recipe.ppo.kl.adaptive and recipe.ppo.algorithm == "ppo" else None,
            "series": series_index([use.stage_id for use in self.uses]),
            "warnings": [[stage, step, code, message] for stage, step, code, message in LogLine.objects.filter(
                stage__in=self.stages, level="warning", step__isnull=False).values_list(
                "stage", "step", "code", "message")[:200]],
        }


def samples_at(stages: Sequence[Stage], step: int | None) -> dict[str, Any]:
    """The samples of a step (the newest if none is named or it has none), and all steps with samples."""
    stage = next((stage for stage in stages if stage.kind == "ppo"), None)
    steps = list(Sample.objects.filter(stage=stage).order_by("step").values_list("step", flat=True).distinct())
    if not steps:
        return {"steps": [], "step": None, "samples": []}
    at = step if step in steps else steps[-1]
    return {"steps": steps, "step": at, "samples": list(Sample.objects.filter(stage=stage, step=at).order_by("index"))}


def latest_numbers(names: dict[int, str]) -> list[dict[str, Any]]:
    """[stage, tag, step, value] of the last point of every series; chunks are made in order."""
    chunks = MetricChunk.objects.filter(stage__in=names)
    newest = [pk for *_, pk in chunks.values_list("stage", "tag").annotate(Max("pk"))]
    chunks_of_last = MetricChunk.objects.filter(pk__in=newest).order_by("stage", "tag").values(
        "stage", "tag", "last_step", "values")
    return [{"stage": names[chunk["stage"]], "tag": chunk["tag"], "step": chunk["last_step"],
             "value": f"{np.frombuffer(bytes(chunk['values']), '<f8')[-1]:.4g}"} for chunk in chunks_of_last]
