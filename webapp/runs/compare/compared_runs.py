"""The runs of a comparison: those that an address names, in its order, each with its letter and its stages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.http import QueryDict

from training.config import Recipe
from training.errors import BadSettings
from webapp.accounts.models import Team
from webapp.accounts.numbers import row_key
from webapp.runs.models import Run, RunStage, Stage
from webapp.runs.progress import Shown, elapsed, run_state
from webapp.runs.waiting import places

FEWEST, MOST = 2, 12
LETTERS = "ABCDEFGHIJKL"
UNUSED = ("stage__settings", "stage__details", "stage__cause", "stage__remedy")


class NotComparable(Exception):
    """An address that names no comparison: what is wrong with it, what to do, and the status of the answer."""

    def __init__(self, cause: str, remedy: str, status: int) -> None:
        super().__init__(f"{cause} {remedy}")
        self.cause, self.remedy, self.status = cause, remedy, status


@dataclass(frozen=True)
class ComparedRun:
    """A run as every part of the page names it: by its letter and its colour, which are those of its place."""

    run: Run
    place: int
    stages: list[Stage]
    state: Shown
    in_order: tuple[int, ...]  # the numbers of all runs of the comparison

    @property
    def letter(self) -> str:
        return LETTERS[self.place]

    @property
    def hue(self) -> str:
        """The class of its colour (static/css/compare.css); no principle's name begins with an underscore."""
        return f"hue-_run-{self.place + 1}"

    @property
    def is_baseline(self) -> bool:
        return self.place == 0

    @cached_property
    def recipe(self) -> Recipe | None:
        """None where this version of Concord cannot read it."""
        try:
            return self.run.stored.recipe
        except BadSettings:
            return None

    @property
    def ppo(self) -> Stage | None:
        return next((stage for stage in self.stages if stage.kind == "ppo"), None)

    @property
    def evaluation(self) -> dict[str, Any]:
        """The report of its evaluation; empty where there is none yet."""
        return next((stage.summary for stage in self.stages if stage.kind == "evaluate" and stage.summary), {})

    @property
    def is_under_way(self) -> bool:
        return self.run.status == Run.Status.RUNNING

    @property
    def seconds(self) -> float | None:
        """From its start to its end, or to now."""
        is_timed = self.run.finished_at is not None or self.is_under_way
        return elapsed(self.run.created_at, self.run.finished_at) if is_timed else None

    @property
    def as_baseline(self) -> str:
        """The query of the same comparison with this run first."""
        return query_of([self.run.pk, *(number for number in self.in_order if number != self.run.pk)])

    @property
    def without(self) -> str:
        """The query of the comparison of the others; empty where they are too few."""
        others = [number for number in self.in_order if number != self.run.pk]
        return query_of(others) if len(others) >= FEWEST else ""


def query_of(numbers: Sequence[int]) -> str:
    return "?" + "&".join(f"run={number}" for number in numbers)


def numbers_of(query: QueryDict) -> list[int]:
    """The numbers of runs in an address, each once, in its order.

    Raises:
        NotComparable: what is no number, too few of them, or too many.
    """
    numbers = dict[int, None]()
    for text in query.getlist("run"):
        number = row_key(text.strip())
        if number is None:
            raise NotComparable(f"'{text[:40]}' is not the number of a run.",
                                "Choose the runs in the list: it makes the address.", 400)
        numbers[number] = None
    if len(numbers) < FEWEST:
        chosen = "no run" if not numbers else f"one run, #{next(iter(numbers))}"
        raise NotComparable(f"This address names {chosen}. A comparison takes {FEWEST} to {MOST} runs.",
                            "Go to the list, check the box of each run to compare, and press Compare.", 400)
    if len(numbers) > MOST:
        raise NotComparable(f"This address names {len(numbers)} runs. A comparison takes {FEWEST} to {MOST} runs.",
                            f"Go back to the list and leave at most {MOST} boxes checked.", 400)
    return list(numbers)


def runs_of(team: Team, numbers: Sequence[int]) -> list[Run]:
    """The team's runs with these numbers, in their order.

    Raises:
        NotComparable: one of them is not the team's, whether or not another team has it.
    """
    runs = Run.objects.of(team).select_related("dataset", "created_by").in_bulk(numbers)
    unknown = [f"#{number}" for number in numbers if number not in runs]
    if unknown:
        raise NotComparable(f"There is no run {', '.join(unknown)} in this team.",
                            "It may have been deleted, or belong to another of your teams: switch to that team, or "
                            "choose other runs in the list.", 404)
    return [runs[number] for number in numbers]


def compared_runs(team: Team, query: QueryDict) -> list[ComparedRun]:
    """The runs of the comparison that an address asks for: a fixed number of queries.

    Raises:
        NotComparable: see `numbers_of` and `runs_of`.
    """
    return as_compared(runs_of(team, numbers_of(query)))


def as_compared(runs: Sequence[Run]) -> list[ComparedRun]:
    """One to twelve runs of one team, each with its letter, its stages and its state: two queries."""
    numbers = tuple(run.pk for run in runs)
    stages: dict[int, list[Stage]] = defaultdict(list)
    uses = RunStage.objects.filter(run__in=runs).order_by("position").select_related("stage").defer(*UNUSED)
    for use in uses:
        stages[use.run_id].append(use.stage)
    waiting = places()
    return [ComparedRun(run, place, stages[run.pk], run_state(run, stages[run.pk], waiting.get(run.pk)), numbers)
            for place, run in enumerate(runs)]
