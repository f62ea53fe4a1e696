"""Comparisons of two wordings of a principle, or of two judges on one wording, on the same pairs.

A worker asks in the background and stores the answers in parts; the page shows both sides. Labels that the team already
has from this judge for this wording are used as they are. Left out: three sides and more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from training import config
from training.errors import TrainingError
from training.judges import judge as engine
from training.judges.addresses import use_allowed_hosts
from training.judges.choose import make_judge
from training.judges.prompt import prompt_version
from webapp.accounts.models import Team, User
from webapp.celery import JOBS, send
from webapp.datasets.models import Dataset
from webapp.judges.identity import label_names
from webapp.judges.keys import key_of
from webapp.judges.models import Comparison, ComparisonAnswer
from webapp.labels.agreement import Agreement
from webapp.labels.models import Label, Pair
from webapp.labels.pairs_from_rows import pairs_from_rows
from webapp.labels.prices import Price, money
from webapp.principles.models import Principle, PrincipleVersion
from webapp.principles.services import principle_edit

PART = 25  # questions asked before what came of them is stored
LOST = timedelta(minutes=2)  # without a sign of life a comparison may be sent again
S = Comparison.Status
_JUDGED = ["probability", "p_shown", "p_swapped", "error", "tokens"]


@transaction.atomic
def comparison_start(*, team: Team, user: User, principle: Principle, statement_a: str, statement_b: str,
                     judges: Sequence[tuple[config.JudgeSettings, str]], pairs: int,
                     dataset: Dataset | None) -> Comparison | None:
    """Start a comparison on the newest pairs of a dataset, or of the team. Returns None if there are no pairs.

    Args:
        judges: one judge for both wordings, or two judges for one wording; each with its title.
    """
    chosen = list(pairs_of(team=team, dataset=dataset).values_list("pk", flat=True)[:pairs])
    if dataset and len(chosen) < pairs:
        of_rows = pairs_from_rows(team=team, dataset=dataset, most=pairs)
        chosen += [pair for pair in of_rows if pair not in chosen][:pairs - len(chosen)]
    if not chosen:
        return None
    (judge, title), (judge_b, title_b) = judges[0], judges[1] if len(judges) > 1 else (None, "")
    comparison = Comparison.objects.create(
        team=team, principle=principle, statement_a=statement_a, statement_b=statement_b, created_by=user,
        judge=judge.model_dump(mode="json"), judge_title=title,
        judge_b=judge_b.model_dump(mode="json") if judge_b else None, judge_title_b=title_b)
    ComparisonAnswer.objects.bulk_create(
        ComparisonAnswer(comparison=comparison, pair_id=pair, side=side) for pair in chosen for side in "ab")
    send("workers.compare_wordings", comparison.pk, queue=JOBS)
    return comparison


def pairs_of(*, team: Team, dataset: Dataset | None) -> QuerySet[Pair]:
    """The pairs that a comparison may be made on: a dataset's, or all of the team's."""
    pairs = Pair.objects.of(team)
    return pairs.filter(dataset=dataset) if dataset else pairs


def pair_count(*, team: Team, dataset: Dataset | None, most: int) -> int:
    """How many pairs a comparison on at most so many would be made on, or a few more."""
    recorded = pairs_of(team=team, dataset=dataset)[:most].count()
    rows = dataset.rows_good if dataset and dataset.has_pairs else 0
    return min(most, max(recorded, rows))


@transaction.atomic
def comparison_adopt(*, comparison: Comparison, user: User) -> PrincipleVersion | None:
    """Make the new wording the principle's next version. Returns None if it is the latest already."""
    principle = comparison.principle
    return principle_edit(principle=principle, user=user, statement=comparison.statement_b,
                          polarity=principle.polarity, description=principle.description, symbol=principle.symbol,
                          hue=principle.hue)


def comparison_again(*, comparison: Comparison) -> bool:
    """Restart a failed or lost comparison; its answers are kept. Returns False if it is still running."""
    lost = Q(status__in=[S.QUEUED, S.RUNNING], seen_at__lt=timezone.now() - LOST)
    with transaction.atomic():
        changed = Comparison.objects.filter(Q(status=S.FAILED) | lost, pk=comparison.pk).update(
            status=S.QUEUED, error="", seen_at=timezone.now())
        if changed:
            send("workers.compare_wordings", comparison.pk, queue=JOBS)
    return bool(changed)


def comparisons_send_again() -> None:
    """Send again the comparisons whose message or worker was lost."""
    lost = Comparison.objects.filter(status__in=[S.QUEUED, S.RUNNING], seen_at__lt=timezone.now() - LOST)
    for comparison in lost:
        comparison_again(comparison=comparison)


def comparison_run(*, comparison_id: int) -> None:
    """Ask the questions without an answer. A second delivery of the task finds nothing to do."""
    queued = Comparison.objects.filter(pk=comparison_id, status=S.QUEUED)
    if not queued.update(status=S.RUNNING, seen_at=timezone.now()):
        return
    comparison = Comparison.objects.select_related("team", "principle").get(pk=comparison_id)
    try:
        _run(comparison)
    except TrainingError as problem:
        _settle(comparison, S.FAILED, str(problem))
    except Exception:
        _settle(comparison, S.FAILED, "An unexpected error occurred. See the workers' log for details, then send it "
                                      "again.")
        raise
    else:
        _settle(comparison, S.DONE)


def _run(comparison: Comparison) -> None:
    for side, statement, judge_settings in _sides(comparison):
        judge = config.JudgeSettings.model_validate(judge_settings)
        key = key_of(team=comparison.team, judge=judge)
        _take_known(comparison, side, statement, judge)
        answers = comparison.answers.filter(side=side)
        waiting = list(answers.filter(probability=None, error="").values_list("pk", flat=True))
        for start in range(0, len(waiting), PART):
            part = list(answers.filter(pk__in=waiting[start:start + PART]).select_related("pair__text"))
            texts = [answer.pair.text for answer in part]
            items = [engine.PairQuestion(text.prompt, text.response_a, text.response_b, statement,
                                         comparison.principle.name) for text in texts]
            _keep(part, asyncio.run(ask_judge(judge, key, items)))
            Comparison.objects.filter(pk=comparison.pk).update(seen_at=timezone.now())


def _sides(comparison: Comparison) -> tuple[tuple[str, str, dict[str, Any]], tuple[str, str, dict[str, Any]]]:
    """Name, wording and judge of each side."""
    return (("a", comparison.statement_a, comparison.judge),
            ("b", comparison.statement_b, comparison.judge_b or comparison.judge))


async def ask_judge(
    judge: config.JudgeSettings, key: str, items: Sequence[engine.PairQuestion],
) -> list[engine.Verdict]:
    """A judge's verdicts on some questions, asked at the hosts that are allowed."""
    use_allowed_hosts(settings.JUDGE_ALLOWED_HOSTS)
    return await make_judge(judge, key).compare(items)


def _keep(part: Sequence[ComparisonAnswer], verdicts: Sequence[engine.Verdict]) -> None:
    for answer, verdict in zip(part, verdicts, strict=True):
        answer.probability, answer.p_shown, answer.p_swapped = verdict.probability, verdict.p_shown, verdict.p_swapped
        answer.error, answer.tokens = verdict.error[:500], verdict.tokens
    ComparisonAnswer.objects.bulk_update(part, _JUDGED)


def _take_known(comparison: Comparison, side: str, statement: str, judge: config.JudgeSettings) -> None:
    """Take answers from labels that the team has already bought from this judge for this wording."""
    waiting = {answer.pair_id: answer for answer in comparison.answers.filter(side=side, probability=None, error="")}
    labels = Label.objects.of(comparison.team).filter(
        pair__in=list(waiting), principle_version__principle=comparison.principle,
        judge__in=label_names(team_id=comparison.team_id, judge=judge), principle_version__statement=statement,
        prompt_version=prompt_version(judge), probability__isnull=False)
    from_labels = []
    for label in labels:
        answer = waiting.pop(label.pair_id, None)
        if answer is None:  # the judge has moved, and labelled this pair at both addresses
            continue
        answer.probability, answer.p_shown, answer.p_swapped = label.probability, label.p_shown, label.p_swapped
        from_labels.append(answer)
    ComparisonAnswer.objects.bulk_update(from_labels, _JUDGED[:3])


def _settle(comparison: Comparison, status: str, error: str = "") -> None:
    Comparison.objects.filter(pk=comparison.pk, status=S.RUNNING).update(status=status, error=error,
                                                                         seen_at=timezone.now())


# The results ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One side's answers."""

    title: str
    statement: str
    answered: int
    usable: int
    flips: int
    both: int
    sureness: float
    tokens: int
    money: float | None  # None where no price is known

    @property
    def flip_rate(self) -> float | None:
        return self.flips / self.both if self.both else None

    @property
    def confidence(self) -> float | None:
        return self.sureness / self.usable if self.usable else None


@dataclass(frozen=True)
class Result:
    """Both sides, with the pairs on which they name different winners, largest difference first."""

    a: Side
    b: Side
    pairs: int
    agreement: Agreement
    differing: list[tuple[ComparisonAnswer, ComparisonAnswer]]

    @property
    def answered(self) -> int:
        return self.a.answered + self.b.answered

    @property
    def fraction(self) -> float:
        return self.answered / (2 * self.pairs) if self.pairs else 0.0


def result_of(comparison: Comparison) -> Result:
    """The results so far; one query for at most a few hundred narrow rows."""
    by_side: dict[str, dict[int, ComparisonAnswer]] = {"a": {}, "b": {}}
    for answer in comparison.answers.select_related("pair").order_by("pk"):
        by_side[answer.side][answer.pair_id] = answer
    both = [(answer, by_side["b"][pair]) for pair, answer in by_side["a"].items()]
    counts = {(first, second): 0 for first in (True, False) for second in (True, False)}
    apart: list[tuple[float, tuple[ComparisonAnswer, ComparisonAnswer]]] = []
    for answer_a, answer_b in both:
        p, q = answer_a.probability, answer_b.probability
        if p is None or q is None or p == 0.5 or q == 0.5:
            continue
        counts[p > 0.5, q > 0.5] += 1
        if (p > 0.5) != (q > 0.5):
            apart.append((abs(p - q), (answer_a, answer_b)))
    differing = [pair for _, pair in sorted(apart, key=lambda item: -item[0])]
    agreement = Agreement(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    a, b = (_side(title, statement, by_side[side], Price(judge.get("price_in", 0.0), judge.get("price_out", 0.0)))
            for title, (side, statement, judge) in zip(comparison.titles, _sides(comparison), strict=True))
    return Result(a, b, len(both), agreement, differing)


def _side(title: str, statement: str, answers: dict[int, ComparisonAnswer], price: Price) -> Side:
    usable = [answer for answer in answers.values() if answer.probability is not None]
    failed = sum(bool(answer.error) for answer in answers.values())
    both = sum(answer.p_swapped is not None for answer in usable)
    tokens = sum(answer.tokens for answer in answers.values())
    return Side(title, statement, len(usable) + failed, len(usable), sum(answer.flipped for answer in usable), both,
                sum(abs(2 * answer.probability - 1) for answer in usable if answer.probability is not None), tokens,
                money(tokens, len(usable) + both, price) if any(price) else None)
