"""A run's labelling in progress: counts, pace, cost so far and expected, and how people change its pace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction

from training.config import Recipe
from training.judges.estimate import Estimate
from training.judges.identity import judge_name
from training.judges.prompt import prompt_version
from webapp.judges.estimating import costs_of, pairs_of, so_far, together
from webapp.labels import label_quality
from webapp.labels.answers import answers_of
from webapp.labels.models import Label
from webapp.labels.prices import Price
from webapp.principles.models import Principle
from webapp.principles.selectors import principles_by_name
from webapp.runs.models import Pace, Run, Stage
from webapp.runs.progress import BADGES, is_stopping
from webapp.runs.series.metrics import newest_values

S = Stage.Status
_COUNTED = frozenset({"label/calls", "label/chars", "label/tokens_in", "label/tokens_out"})


@dataclass(frozen=True)
class Progress:
    """The labels of one principle of a run."""

    principle: Principle
    stage: Stage
    paused: bool
    line: label_quality.QualityLine | None  # labels bought since the run was started
    estimate: Estimate | None  # for all its labels, corrected by the replies so far

    @property
    def badge(self) -> str:
        stops = self.paused and self.is_open or is_stopping(self.stage)
        return "is-stopped" if stops else BADGES[self.stage.status]

    @property
    def state(self) -> str:
        if is_stopping(self.stage):
            return "stopping"
        return "paused" if self.paused and self.is_open else self.stage.get_status_display()

    @property
    def is_open(self) -> bool:
        return self.stage.status != S.SUCCEEDED

    @property
    def per_minute(self) -> float | None:
        """Labels per minute, computed from the time left."""
        stage = self.stage
        if stage.status != S.RUNNING or self.paused or not stage.eta_seconds:
            return None
        return 60 * (stage.progress_total - stage.progress_done) / stage.eta_seconds


@dataclass(frozen=True)
class Labelling:
    """All principles of a run."""

    run: Run
    recipe: Recipe
    rows: list[Progress]
    requests_per_minute: int | None
    concurrency: int | None

    @property
    def is_open(self) -> bool:
        """Whether labels are missing and a worker may still add them."""
        return self.run.status == Run.Status.RUNNING and any(row.is_open for row in self.rows)

    @property
    def paused(self) -> bool:
        return any(row.paused for row in self.rows if row.is_open)

    @property
    def asks_a_model(self) -> bool:
        return self.recipe.judge.kind != "rule"

    @property
    def priced(self) -> bool:
        return bool(self.recipe.judge.price_in or self.recipe.judge.price_out)

    @property
    def spent(self) -> float:
        return sum(row.line.money or 0.0 for row in self.rows if row.line)

    @property
    def bought(self) -> int:
        return sum(row.line.n for row in self.rows if row.line)

    @property
    def done(self) -> int:
        return sum(row.stage.progress_done for row in self.rows)

    @property
    def total(self) -> int:
        """The number of labels of all its stages; until a stage has counted its pairs, the recipe's maximum."""
        most = pairs_of(self.recipe, self.run.dataset)
        return sum(row.stage.progress_total or most for row in self.rows)

    @property
    def estimate(self) -> Estimate | None:
        parts = [row.estimate for row in self.rows if row.estimate]
        return together(parts) if parts else None

    @property
    def eta(self) -> float | None:
        """Seconds until the last running principle is done."""
        etas = [row.stage.eta_seconds for row in self.rows if row.stage.eta_seconds and not row.paused]
        return max(etas) if etas else None


def labelling_of(run: Run) -> Labelling:
    """A run's current labelling, in a constant number of queries."""
    recipe = run.stored.recipe
    stages = list(run.stages.filter(kind="label").order_by("uses__position").defer("settings", "summary", "details"))
    paces = {pace.stage_id: pace for pace in Pace.objects.filter(stage__in=stages)}
    ours = principles_by_name(run.team)
    wording = {choice.name: choice.wording for choice in recipe.principles}
    lines = {line.principle.name: line for line in _lines(run, recipe, wording)}
    costs = costs_of(team=run.team, recipe=recipe, dataset=run.dataset, to_label=list(wording))
    first = {cost.title: cost.estimate for cost in costs.lines if cost.principle} if costs else {}
    counted = newest_values([stage.pk for stage in stages], _COUNTED)
    rows = []
    for stage in stages:
        name, pace = stage.principle, paces.get(stage.pk)
        expected = _estimate(first.get(name), lines.get(name), stage, recipe, counted.get(stage.pk, {}))
        rows.append(Progress(ours.get(name) or Principle(name=name), stage, bool(pace and pace.paused),
                             lines.get(name), expected))
    newest = max(paces.values(), key=lambda pace: pace.pk, default=None)
    return Labelling(run, recipe, rows, newest.requests_per_minute if newest else None,
                     newest.concurrency if newest else None)


@transaction.atomic
def labelling_steer(*, run: Run, paused: bool | None = None, requests_per_minute: int | None = None,
                    concurrency: int | None = None) -> int:
    """Pause or continue a run's labelling, or change its pace. Returns the number of stages affected.

    None leaves a setting as it is. A stage that another run shares changes for both.
    """
    changes = {name: value for name, value in (("paused", paused), ("requests_per_minute", requests_per_minute),
                                               ("concurrency", concurrency)) if value is not None}
    stages = run.stages.filter(kind="label").exclude(status=S.SUCCEEDED)
    for stage in stages:
        Pace.objects.update_or_create(stage=stage, defaults=changes, create_defaults={"team": run.team, **changes})
    return len(stages)


def _lines(run: Run, recipe: Recipe, wording: dict[str, str]) -> list[label_quality.QualityLine]:
    """The labels that this run's stages have bought since it was started."""
    judge = recipe.judge
    labels = Label.objects.of(run.team).filter(
        judge=judge_name(judge), prompt_version=prompt_version(judge), created_at__gte=run.created_at,
        principle_version__principle__name__in=wording, principle_version__statement__in=wording.values())
    prices = {judge_name(judge): Price(judge.price_in, judge.price_out)}
    return label_quality.lines(label_quality.principles_of(run.team), answers_of(labels), labels, prices)


def _estimate(first: Estimate | None, line: label_quality.QualityLine | None, stage: Stage, recipe: Recipe,
              counted: Mapping[str, float]) -> Estimate | None:
    """The estimate corrected by the stage's own counts or, until it reports any, by the stored labels."""
    if first is None or line is None:
        return first
    calls = line.usable + line.both
    ended = stage.finished_at
    seconds = (ended - stage.started_at).total_seconds() if ended and stage.started_at else 0.0
    if counted.keys() >= _COUNTED:
        return so_far(first, calls=round(counted["label/calls"]), tokens_in=round(counted["label/tokens_in"]),
                      tokens_out=round(counted["label/tokens_out"]), chars=round(counted["label/chars"]),
                      seconds=seconds, recipe=recipe)
    return so_far(first, calls=calls, tokens_in=max(line.tokens - calls, 0), tokens_out=min(calls, line.tokens),
                  seconds=seconds, recipe=recipe)
