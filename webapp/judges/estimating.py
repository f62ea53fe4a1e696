"""Estimates the cost of a run's labels per principle, before and during labelling, from the real prompts.

The questions are built from an even sample of the data, exactly as the judge will see them. Responses that the policy
has not written yet are assumed to be half of their maximum length. Left out: tokenizers of judges; the first hundred
replies give a better estimate of the tokens per character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from training.config import Recipe
from training.demo_world import language
from training.judges.estimate import Estimate, Observed, Range, corrected, estimate
from training.judges.prompt import prompt_version, question_of
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, DatasetText
from webapp.judges.identity import label_names
from webapp.labels.models import Label
from webapp.principles.models import Principle
from webapp.principles.selectors import principles_by_name

SAMPLE = 200  # pairs whose questions are built, spread over the data
CHARS_PER_TOKEN = 4
_NOTHING = Range(0.0, 0.0, 0.0)

Texts = tuple[Any, str, str]  # a prompt and two responses


@dataclass(frozen=True)
class Cost:
    """One line of the estimate: a principle's labels, or the evaluation's calls."""

    title: str
    principle: Principle | None
    known: int  # labels that the team has already
    estimate: Estimate


@dataclass(frozen=True)
class Costs:
    """The costs of all calls that a run makes to its judge."""

    lines: list[Cost]
    priced: bool
    budget: str = ""  # which budget would stop it, in words

    @property
    def total(self) -> Estimate:
        return together([line.estimate for line in self.lines])


def pairs_of(recipe: Recipe, dataset: Dataset | None) -> int:
    """Pairs labelled on each principle, at most."""
    if recipe.sample.pairs == "sampled":
        return min(recipe.judge.max_pairs, recipe.sample.count)
    rows = dataset.rows_good if dataset else recipe.data.limit
    return min(recipe.judge.max_pairs, recipe.data.limit, rows)


def costs_of(*, team: Team, recipe: Recipe, dataset: Dataset | None, to_label: Sequence[str]) -> Costs | None:
    """The cost of labelling the principles `to_label` and of the evaluation; None where no judge is paid."""
    judge = recipe.judge
    if judge.kind == "rule" or recipe.is_measured:
        return None
    texts, pairs = sample_of(recipe, dataset), pairs_of(recipe, dataset)
    labels_owned = _owned_labels(team, recipe, dataset)
    orders = 2 if judge.both_orders else 1
    ours = principles_by_name(team)
    lines = []
    for choice in recipe.principles:
        if choice.name not in to_label or choice.measure is not None:
            continue
        owned = min(labels_owned.get((choice.name, choice.wording), 0), pairs)
        lines.append(Cost(choice.name, ours.get(choice.name) or Principle(name=choice.name), owned,
                          _estimate_of(recipe, texts, choice.wording, (pairs - owned) * orders)))
    judged = sum(choice.measure is None for choice in recipe.principles)
    questions = recipe.evaluate.prompts * (1 + judged) * orders
    lines.append(Cost("evaluation", None, 0, _estimate_of(recipe, texts, "", questions)))
    unbudgeted = Costs(lines, bool(judge.price_in or judge.price_out))
    return Costs(lines, unbudgeted.priced, _budget(recipe, unbudgeted.total))


def question_costs(*, recipe: Recipe, dataset: Dataset | None, calls: int, wording: str) -> Estimate:
    """The cost of a number of calls about one wording."""
    return _estimate_of(recipe, sample_of(recipe, dataset), wording, calls)


def so_far(first: Estimate, *, calls: int, tokens_in: int, tokens_out: int, seconds: float, recipe: Recipe,
           chars: int = 0) -> Estimate:
    """The estimate corrected by the actual cost of the replies so far.

    Args:
        chars: characters asked so far; 0 if they were not counted: then they are assumed proportional to the calls.
    """
    chars = chars or (round(first.chars * calls / first.calls) if first.calls else 0)
    return corrected(first, Observed(calls, chars, tokens_in, tokens_out, seconds), recipe.judge)


def together(parts: Sequence[Estimate]) -> Estimate:
    """Sum several estimates. Their calls share one limit of requests in flight, so the times add up."""
    def added(name: str) -> Range:
        ranges = [getattr(part, name) for part in parts]
        return Range(*(sum(values) for values in zip(*ranges, strict=True))) if ranges else _NOTHING

    return Estimate(sum(part.calls for part in parts), sum(part.chars for part in parts), added("tokens_in"),
                    added("tokens_out"), added("money"), added("seconds"))


def sample_of(recipe: Recipe, dataset: Dataset | None) -> list[Texts]:
    """An even sample of the pairs that will be labelled, as far as they exist already."""
    guess = "x" * (recipe.sample.max_new_tokens * CHARS_PER_TOKEN // 2)
    if dataset is None:
        prompts = language.prompts(SAMPLE, recipe.seed, "train")
        return [([{"role": "user", "content": prompt}], guess, guess) for prompt in prompts]
    rows = DatasetText.objects.filter(row__dataset=dataset)
    step = max(1, dataset.rows_good // SAMPLE)
    numbers = [1 + step * place for place in range(SAMPLE)]
    texts = list(rows.filter(row__number__in=numbers).values_list("prompt", "chosen", "rejected"))
    texts = texts or list(rows.order_by("row__number").values_list("prompt", "chosen", "rejected")[:SAMPLE])
    if recipe.sample.pairs == "sampled":
        return [(prompt, guess, guess) for prompt, _, _ in texts]
    return [(prompt, chosen, rejected) for prompt, chosen, rejected in texts]


def _estimate_of(recipe: Recipe, texts: Sequence[Texts], wording: str, calls: int) -> Estimate:
    questions = [question_of(recipe.judge, prompt, a, b, wording) for prompt, a, b in texts] if calls > 0 else []
    return estimate(questions, recipe.judge, len(questions) / calls if questions else 1.0)


def _owned_labels(team: Team, recipe: Recipe, dataset: Dataset | None) -> dict[tuple[str, str], int]:
    """How many labels need not be bought again, by principle and wording; counted only for pairs from the data."""
    if recipe.sample.pairs == "sampled":
        return {}
    names = label_names(team_id=team.pk, judge=recipe.judge)
    labels = Label.objects.of(team).filter(judge__in=names, prompt_version=prompt_version(recipe.judge),
                                        pair__dataset=dataset, probability__isnull=False)
    rows = labels.order_by().values_list("principle_version__principle__name", "principle_version__statement").annotate(
        Count("pair", distinct=True))
    return {(name, statement): count for name, statement, count in rows}


def _budget(recipe: Recipe, expected: Estimate) -> str:
    judge = recipe.judge
    tokens = expected.tokens_in.likely + expected.tokens_out.likely
    limits = ((judge.budget_calls, expected.calls, "calls"), (judge.budget_tokens, tokens, "tokens"),
              (judge.budget_money, expected.money.likely, "money"))
    for limit, likely, what in limits:
        if limit and likely > limit:
            return f"The budget in {what} will stop the run after about {limit / likely:.0%} of its calls."
    return ""
