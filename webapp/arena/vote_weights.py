"""Weights of the principles fitted to people's votes, beside those of the run whose preference models gave the scores.

The regression is that of `weights.mode: fitted`: the vote on the difference of standardised scores. A tie, and "both
bad", is half a vote for each side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import OuterRef, Subquery
from django.urls import reverse

from training.quality.weight_fit import fit, intervals
from webapp.arena.models import Arena, ArenaAnswer, Ballot
from webapp.arena.selectors import VOTED
from webapp.arena.serving import score_of
from webapp.runs.form.reweighting import address_of
from webapp.runs.models import Run, Stage

LEAST_PER_PRINCIPLE = 10  # decided votes per weight below which a fit is not trusted (Peduzzi et al. 1996)
MOST_VOTES = 5000  # the newest; the bootstrap takes a second and a half for them


@dataclass(frozen=True)
class FittedRow:
    """One principle. Weights are shares: the absolute values of all principles' weights sum to 1."""

    name: str
    now: float | None
    fitted: float
    low: float
    high: float

    @property
    def is_turned(self) -> bool:
        """Whether people vote against the sign that the run gave the principle."""
        return self.now is not None and self.now * self.fitted < 0

    @property
    def could_be_either(self) -> bool:
        return self.low < 0 < self.high


@dataclass(frozen=True)
class VoteWeights:
    """The fit to `n` votes whose answers have scores, `ties` of them tied. No rows: nothing can be fitted."""

    rows: Sequence[FittedRow]
    n: int
    ties: int
    without_scores: int
    run: Run | None
    start: str = ""

    @property
    def wanted(self) -> int:
        """Decided votes below which the fit is not trusted."""
        return LEAST_PER_PRINCIPLE * len(self.rows)

    @property
    def is_too_few(self) -> bool:
        return self.n - self.ties < self.wanted

    @property
    def turned(self) -> list[FittedRow]:
        """Principles against which people vote; of too few votes a sign says nothing."""
        return [] if self.is_too_few else [row for row in self.rows if row.is_turned]

    @property
    def scalarization(self) -> str:
        """The run's scalarization where it is another than the weighted sum that was fitted."""
        function = self.run.stored.recipe.scalarization.function if self.run else "linear"
        return "" if function == "linear" else function


@dataclass(frozen=True)
class ScoredVote:
    """A vote: 1, 1/2 or 0 for the first answer, and both answers' standardised scores by principle."""

    score: float
    first: Mapping[str, float]
    second: Mapping[str, float]


def vote_weights(arena: Arena) -> VoteWeights:
    """The fit to an arena's votes; the same queries for any number of them."""
    run = arena.scorer
    now = _weights_of(run) if run else {}
    votes = scored_votes(arena)
    usable = [vote for vote in votes if vote.first and vote.second]
    names = list(now) or sorted({name for vote in usable for name in vote.first})
    usable = [vote for vote in usable if all(name in vote.first and name in vote.second for name in names)]
    rows = fitted_rows(names, usable, now)
    ties = sum(vote.score == 0.5 for vote in usable)
    start = _start(run, rows) if run and rows else ""
    return VoteWeights(rows, len(usable), ties, len(votes) - len(usable), run, start)


def fitted_rows(names: Sequence[str], votes: Sequence[ScoredVote], now: Mapping[str, float]) -> list[FittedRow]:
    """A row per principle. Empty: there is no decided vote, or the scores never differ."""
    differences = [[vote.first[name] - vote.second[name] for name in names] for vote in votes]
    choices = [vote.score for vote in votes]
    if not any(choice != 0.5 for choice in choices) or not any(any(row) for row in differences):
        return []
    weights = fit(differences, choices)
    total = sum(abs(weight) for weight in weights) or 1.0
    return [FittedRow(name, now.get(name), weight / total, low, high) for name, weight, (low, high) in zip(
        names, weights, intervals(differences, choices), strict=True)]


def scored_votes(arena: Arena) -> list[ScoredVote]:
    """The newest votes overall with the scores of both answers, empty where there are none; one query."""
    answers = ArenaAnswer.objects.filter(prompt=OuterRef("pairing__prompt"))
    sides = {f"scores_{side}": Subquery(answers.filter(entrant=OuterRef(f"pairing__{side}")).values("scores")[:1])
             for side in ("first", "second")}
    rows = (Ballot.objects.filter(pairing__arena=arena, outcome__in=VOTED).annotate(**sides).order_by("-pk")
            .values_list("outcome", "swapped", *sides)[:MOST_VOTES])
    return [ScoredVote(score_of(outcome, swapped), first or {}, second or {})
            for outcome, swapped, first, second in rows]


def _weights_of(run: Run) -> dict[str, float]:
    """The shares that the run's reward is made with, in the order of its recipe (PostgreSQL keeps none in JSON): those
    of its weights stage, which may be fitted ones."""
    stage = Stage.objects.filter(uses__run=run, kind="weights", status=Stage.Status.SUCCEEDED).first()
    shares = (stage.summary or {}).get("weights") if stage else None
    of_recipe = run.stored.recipe.weights_by_name
    order = list(of_recipe)
    return dict(sorted((shares or of_recipe).items(), key=lambda item: (
        order.index(item[0]) if item[0] in order else len(order))))


def _start(run: Run, rows: Sequence[FittedRow]) -> str:
    """The address of the form of a new run: this run's recipe with the fitted weights, set and not fitted again."""
    weights = {row.name: round(row.fitted, 4) for row in rows}
    query = {"clone": str(run.pk)} | address_of(weights, run.stored.recipe.scalarization)
    return f"{reverse('runs:new')}?{urlencode(query)}"
