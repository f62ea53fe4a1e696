"""What a report of one to twelve runs says: everything is read here, so that the file needs no server afterwards."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.db.models import Count, Max
from django.utils import timezone

from training.config import as_yaml
from webapp.accounts.models import Team
from webapp.principles.models import Principle
from webapp.principles.selectors import principles_by_name
from webapp.runs.compare.answers import Answers, answers_of
from webapp.runs.compare.compared_runs import ComparedRun
from webapp.runs.compare.final_numbers import Block, final_numbers
from webapp.runs.compare.recipe_differences import RecipeDifferences, recipe_differences
from webapp.runs.models import LogLine, Run, RunStage, Stage
from webapp.runs.page.quality_cards import ModelCard, model_cards
from webapp.runs.page.selectors import weighted
from webapp.runs.progress import KINDS, elapsed
from webapp.runs.report.charts import Curves, Whiskers, curve_charts, whisker_charts

EXAMPLES = 6  # of a single run
LONGEST_TEXT = 4000  # characters of a prompt, an answer or a message


@dataclass(frozen=True)
class Example:
    """One prompt with the answers to it, each under a title."""

    prompt: str
    answers: list[tuple[str, str]]


@dataclass(frozen=True)
class Warned:
    """What a stage of a run warned of, as often as it did; `message` is the last one."""

    compared: ComparedRun
    stage: str
    level: str
    code: str
    times: int
    message: str


@dataclass(frozen=True)
class Durations:
    """Seconds that the stages of a kind worked, a cell per run; None: it had none, or took over all of them."""

    title: str
    cells: list[tuple[float | None, bool]]  # seconds, and whether every stage was computed for another run


@dataclass(frozen=True)
class Report:
    """Everything that the file says. `addresses` are those of the runs' pages."""

    team: Team
    author: str
    made_at: datetime
    version: str
    runs: list[ComparedRun]
    addresses: list[str]
    recipes: RecipeDifferences
    texts: list[tuple[ComparedRun, str]]
    blocks: list[Block]
    whiskers: list[Whiskers]
    curves: list[Curves]
    cards: list[tuple[str, list[ModelCard | None]]]
    examples: list[Example]
    warnings: list[Warned]
    failures: list[tuple[ComparedRun, str, str, str]]
    durations: list[Durations]

    @property
    def is_of_one(self) -> bool:
        return len(self.runs) == 1

    @property
    def title(self) -> str:
        return self.runs[0].run.name if self.is_of_one else f"{len(self.runs)} runs compared"

    @property
    def with_address(self) -> list[tuple[ComparedRun, str]]:
        return list(zip(self.runs, self.addresses, strict=True))


@cache
def concord_version() -> str:
    with (settings.BASE_DIR / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def report_of(*, team: Team, author: str, runs: list[ComparedRun], address_of: Callable[[Run], str]) -> Report:
    """As many queries for twelve runs as for one."""
    of_team = principles_by_name(team)
    principles = {item.principle.name: item.principle for compared in runs if compared.recipe is not None
                  for item in weighted(compared.run.recipe, of_team)}
    blocks = final_numbers(runs, principles)
    return Report(
        team, author, timezone.now(), concord_version(), runs, [address_of(compared.run) for compared in runs],
        recipe_differences(runs, principles), _texts(runs), blocks, whisker_charts(runs, blocks), curve_charts(runs),
        _cards(runs, principles), _examples(runs), _warnings(runs), _failures(runs), _durations(runs))


def _texts(runs: Sequence[ComparedRun]) -> list[tuple[ComparedRun, str]]:
    return [(compared, as_yaml(compared.recipe)) for compared in runs if compared.recipe is not None]


def _cards(runs: Sequence[ComparedRun], principles: Mapping[str, Principle],
           ) -> list[tuple[str, list[ModelCard | None]]]:  # fmt: skip
    """By principle, the quality card of each run's preference model."""
    of_runs = [{card.principle.name: card for card in model_cards(
        compared.stages, lambda name: principles.get(name) or Principle(name=name)) if card.principle is not None}
        for compared in runs]
    names = dict.fromkeys(name for cards in of_runs for name in cards)
    return [(name, [cards.get(name) for cards in of_runs]) for name in names]


def _examples(runs: Sequence[ComparedRun]) -> list[Example]:
    """Of one run the policy beside its base on held-out prompts; of several their last answers to common prompts."""
    if len(runs) > 1:
        answers: Answers = answers_of(runs)
        return [Example(_clipped(answered.prompt), [
            (f"{compared.letter}, step {sample.step}", _clipped(sample.response))
            for compared, sample in answered.answers if sample is not None]) for answered in answers.prompts]
    return [Example(_dialogue(example.get("prompt")), [("Policy", _clipped(example.get("policy", ""))),
                                                       ("Base", _clipped(example.get("base", "")))])
            for example in runs[0].evaluation.get("examples", [])[:EXAMPLES]]


def _dialogue(prompt: Any) -> str:
    """The turns of a prompt, with who speaks where there are several."""
    turns = prompt if isinstance(prompt, list) else []
    if len(turns) == 1:
        return _clipped(turns[0].get("content", ""))
    return _clipped("\n\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in turns))


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text):,} characters)"


def _warnings(runs: Sequence[ComparedRun]) -> list[Warned]:
    """Alike warnings of a stage are one row."""
    stages = {stage.pk: (compared, stage) for compared in reversed(runs) for stage in compared.stages}
    lines = LogLine.objects.filter(stage__in=stages, level__in=("warning", "error"))
    groups = list(lines.order_by("stage", "level", "code").values_list("stage", "level", "code").annotate(
        Count("pk"), Max("pk")))
    messages = dict(LogLine.objects.filter(pk__in=[group[-1] for group in groups]).values_list("pk", "message"))
    rows = [Warned(stages[stage][0], stages[stage][1].name, level, code, times, _clipped(messages.get(last, "")))
            for stage, level, code, times, last in groups]
    return sorted(rows, key=lambda row: row.compared.place)


def _failures(runs: Sequence[ComparedRun]) -> list[tuple[ComparedRun, str, str, str]]:
    """The failed stages, with cause and remedy."""
    of_stage = {stage.pk: compared for compared in reversed(runs) for stage in compared.stages}
    failed = Stage.objects.filter(pk__in=of_stage, status=Stage.Status.FAILED).order_by("pk")
    return [(of_stage[key], name, cause, remedy)
            for key, name, cause, remedy in failed.values_list("pk", "name", "cause", "remedy")]


def _durations(runs: Sequence[ComparedRun]) -> list[Durations]:
    """By kind of stage, in the order of the pipeline."""
    reused = set(RunStage.objects.filter(run__in=[compared.run for compared in runs], reused=True).values_list(
        "run", "stage"))
    rows = []
    for kind, title in KINDS.items():
        cells = [_worked(compared, kind, reused) for compared in runs]
        if any(seconds is not None or is_reused for seconds, is_reused in cells):
            rows.append(Durations(title, cells))
    return rows


def _worked(compared: ComparedRun, kind: str, reused: set[tuple[int, int]]) -> tuple[float | None, bool]:
    stages = [stage for stage in compared.stages if stage.kind == kind]
    own = [stage for stage in stages if (compared.run.pk, stage.pk) not in reused]
    spans = [elapsed(stage.started_at, stage.finished_at) for stage in own if stage.started_at and stage.finished_at]
    known = [seconds for seconds in spans if seconds is not None]
    return (sum(known) if known else None), bool(stages) and not own
