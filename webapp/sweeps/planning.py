"""What a sweep is going to do: its runs, checked by the web's rules, the stages they share, their time and price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from training.config import Recipe
from training.errors import BadSettings
from training.judges.estimate import Estimate as JudgeEstimate
from training.run.artifacts import digest_of
from training.run.checks import check_run
from training.sweep.combinations import combination_count
from training.sweep.sweep_file import SweepFile, check_sweep
from training.sweep.sweep_plan import SweepRun, sweep_runs
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset
from webapp.judges.estimating import costs_of, together
from webapp.judges.keys import check_key_host, saved_key
from webapp.runs.eta import TITLES, Span, expected, past_stages, rounded
from webapp.runs.model_home import models_home
from webapp.runs.services import StagePreview, previews

MOST_RUNS = 200
"""Of one sweep on a page. The command line makes more; here every one is a run with a page of its own."""


@dataclass(frozen=True)
class Work:
    """The time of one worker that takes every stage in turn. `unknown`: kinds that no earlier stage says anything of,
    which are not counted."""

    span: Span
    unknown: tuple[str, ...]

    @property
    def words(self) -> str:
        left_out = f", not counting {' and '.join(self.unknown)}, which nothing is known of yet" if self.unknown else ""
        if not self.span.seconds:
            return f"Not known yet{left_out}"
        at = "At least" if self.unknown else "About"
        return f"{at} {rounded(self.span.seconds)} of one worker{left_out}"


@dataclass(frozen=True)
class SweepPlan:
    """What would happen.

    Attributes:
        stages: of all runs, as if nothing were shared.
        distinct: how many of them are different ones.
        reused: how many of the different ones exist, or are being computed, already.
        labels: how many of those to run ask for labels.
    """

    runs: list[SweepRun]
    stages: int
    distinct: int
    reused: int
    labels: int
    work: Work
    costs: JudgeEstimate | None
    priced: bool

    @property
    def to_run(self) -> int:
        return self.distinct - self.reused


def recipe_digest(recipe: Recipe) -> str:
    """Equal for recipes that differ in nothing but their name."""
    return digest_of(recipe.model_copy(update={"name": "sweep"}).model_dump(mode="json"))


def planned_runs(*, team: Team, base: Recipe, over: dict[str, Any]) -> list[SweepRun]:
    """The runs of one 'over', each checked.

    Raises:
        BadSettings: naming the field or the combination that cannot be used.
    """
    sweep: SweepFile = check_sweep({"recipe": base.model_dump(mode="json"), "over": over})
    if (count := combination_count(sweep.over)) > MOST_RUNS:
        raise BadSettings(f"'over' makes {count:,} runs; a sweep of the web has at most {MOST_RUNS}.",
                          "Give fewer values, draw some of them with 'random', or use the command line.")
    return sweep_runs(sweep, base, _check_of(team, base))


def _check_of(team: Team, base: Recipe) -> Callable[[Recipe], None]:
    """The rules of the run form for what may be varied: keys stay with their hosts, data stay the team's."""
    judges: set[str] = set()

    def check(recipe: Recipe) -> None:
        if recipe.data.source != base.data.source:
            raise BadSettings(f"'data.source' is '{recipe.data.source}', and the runs of a sweep share their data.",
                              "Leave 'data.source' out, and make a sweep for each dataset.")
        check_run(recipe, settings.ARTIFACTS, models_home())
        if (judge := digest_of(recipe.judge.model_dump(mode="json"))) not in judges:
            saved_key(team=team, judge=recipe.judge)
            check_key_host(recipe.judge)
            judges.add(judge)

    return check


def sweep_plan(*, team: Team, base: Recipe, dataset: Dataset | None, over: dict[str, Any],
               without: frozenset[str] = frozenset()) -> SweepPlan:
    """The plan of the runs that are not among `without` (digests of recipes that the sweep has already).

    Raises:
        BadSettings, BadData: a combination cannot be run, or the data cannot serve it.
    """
    runs = [run for run in planned_runs(team=team, base=base, over=over) if recipe_digest(run.recipe) not in without]
    shown = previews(team=team, recipes=[run.recipe for run in runs], dataset=dataset)
    stages = {stage.identity: stage for of_run in shown for stage in of_run}
    to_run = {identity: stage for identity, stage in stages.items() if stage.state == "to run"}
    costs, priced = _costs(team, dataset, runs, shown, set(to_run))
    return SweepPlan(runs, sum(map(len, shown)), len(stages), len(stages) - len(to_run),
                     sum(stage.kind == "label" for stage in to_run.values()), _work(team, list(to_run.values())),
                     costs, priced)


def _work(team: Team, to_run: Sequence[StagePreview]) -> Work:
    spans = expected([(place, stage.kind, stage.settings) for place, stage in enumerate(to_run)],
                     past_stages(team.pk)) if to_run else {}
    known = [span for span in spans.values() if span is not None]
    unknown = dict.fromkeys(TITLES.get(stage.kind, stage.kind) for place, stage in enumerate(to_run)
                            if spans[place] is None and stage.kind not in {"weights", "draw"})
    return Work(Span(*(sum(span[which] for span in known) for which in range(3))), tuple(unknown))


def _costs(team: Team, dataset: Dataset | None, runs: Sequence[SweepRun], shown: Sequence[Sequence[StagePreview]],
           to_run: set[str]) -> tuple[JudgeEstimate | None, bool]:
    """What the judge is asked in all: a label stage is paid once, an evaluation by each run that has its own."""
    paid: set[str] = set()
    groups: dict[str, tuple[Recipe, list[str], int]] = {}
    for run, stages in zip(runs, shown, strict=True):
        mine = [stage for stage in stages if stage.identity in to_run and stage.identity not in paid]
        paid |= {stage.identity for stage in mine}
        values = run.recipe.model_dump(mode="json")
        principles = [(choice.name, choice.wording) for choice in run.recipe.principles]
        key = digest_of([values[name] for name in ("judge", "evaluate", "sample", "data", "seed")] + [principles])
        recipe, labels, evaluations = groups.get(key, (run.recipe, [], 0))
        groups[key] = (recipe, labels + [stage.principle for stage in mine if stage.kind == "label"],
                       evaluations + sum(stage.kind == "evaluate" for stage in mine))
    parts, priced = [], False
    for recipe, labels, evaluations in groups.values():
        if (costs := costs_of(team=team, recipe=recipe, dataset=dataset, to_label=labels)) is not None:
            priced = priced or costs.priced
            parts += [line.estimate for line in costs.lines if line.principle is not None]
            parts += [line.estimate for line in costs.lines if line.principle is None] * evaluations
    return (together(parts) if parts else None), priced
