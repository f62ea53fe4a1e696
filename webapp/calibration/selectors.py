"""What the pages of calibration show: sets, and each judge's calibration by principle."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q
from django.db.models.functions import Length

from training import config
from training.quality.judge_calibration import JudgeCalibration, JudgedPair, judge_calibration
from webapp.accounts.models import Team
from webapp.calibration.models import CalibrationAnswer, CalibrationCheck, CalibrationSet
from webapp.calibration.services import newest_wordings
from webapp.judges.selectors import saved_judge_of
from webapp.labels.models import PairText
from webapp.labels.prices import Price, money
from webapp.principles.models import Principle

MOST_CHECKS = 20  # the newest ones of a set
ENOUGH = 30  # pairs; with fewer, an agreement says little


@dataclass(frozen=True)
class SetRow:
    """A set as the list shows it: its newest version."""

    set: CalibrationSet
    pairs: int
    principles: int
    checks: int


@dataclass(frozen=True)
class JudgeRow:
    """One judge's calibration on one principle."""

    check: CalibrationCheck
    principle: Principle
    calibration: JudgeCalibration
    money_per_1000: float | None  # dollars; None where no price is known
    stale: str  # why it says nothing of today's judge or wording; empty where it does

    @property
    def is_short(self) -> bool:
        """Whether it rests on too few pairs."""
        return self.calibration.agreement is None or self.calibration.agreement.n < ENOUGH


@dataclass(frozen=True)
class CheckProgress:
    check: CalibrationCheck
    asked: int
    total: int

    @property
    def is_under_way(self) -> bool:
        return self.check.status in {CalibrationCheck.Status.QUEUED, CalibrationCheck.Status.RUNNING}

    @property
    def fraction(self) -> float:
        return self.asked / self.total if self.total else 1.0


def set_rows(team: Team) -> list[SetRow]:
    """The newest version of each set; two queries."""
    sets = list(CalibrationSet.objects.of(team).filter(later=None).select_related("created_by").annotate(
        pair_count=Count("items__pair", distinct=True), principle_count=Count("items__principle", distinct=True)))
    checks = dict(CalibrationCheck.objects.filter(set__in=sets).order_by().values_list("set").annotate(Count("pk")))
    return [SetRow(row, row.pair_count, row.principle_count, checks.get(row.pk, 0)) for row in sets]


def checks_of(calibration_set: CalibrationSet) -> list[CheckProgress]:
    """The newest checks of a set; two queries."""
    checks = list(calibration_set.checks.select_related("created_by")[:MOST_CHECKS])
    counts = {check: (asked, total) for check, asked, total in CalibrationAnswer.objects.filter(
        check_of__in=checks).order_by().values_list("check_of").annotate(
            asked=Count("pk", filter=_is_asked()), total=Count("pk"))}
    return [CheckProgress(check, *counts.get(check.pk, (0, 0))) for check in checks]


def judge_rows(calibration_set: CalibrationSet, checks: list[CalibrationCheck]) -> list[JudgeRow]:
    """Every judge on every principle that it was asked about; a few queries, whatever the number of pairs."""
    items = {item.pk: item for item in calibration_set.items.all()}
    lengths = {pair: (a, b) for pair, a, b in PairText.objects.filter(
        pair__in=calibration_set.items.values("pair")).annotate(
            a=Length("response_a"), b=Length("response_b")).values_list("pair_id", "a", "b")}
    answers: defaultdict[tuple[int, int], dict[tuple[int, bool], dict[str, Any]]] = defaultdict(dict)
    columns = ("check_of", "item", "is_repeat", "probability", "p_shown", "p_swapped", "tokens", "error")
    for row in CalibrationAnswer.objects.filter(_is_asked(), check_of__in=checks).values(*columns):
        answers[row["check_of"], items[row["item"]].principle_id][row["item"], row["is_repeat"]] = row
    principles = Principle.objects.in_bulk({item.principle_id for item in items.values()})
    stale_judges = {check.pk: _stale_judge(check) for check in checks}
    newest = newest_wordings(set(principles))
    rows = []
    for check in checks:
        for principle in sorted(principles.values(), key=lambda principle: principle.name):
            if not (of_principle := answers.get((check.pk, principle.pk))):
                continue
            number = str(principle.pk)
            stale = stale_judges[check.pk] or (
                "" if newest.get(number) == check.wordings.get(number) else "The wording has changed since.")
            pairs = [_judged(items[item].choice, lengths.get(items[item].pair_id, (0, 0)), answer,
                             of_principle.get((item, True)))
                     for (item, is_repeat), answer in of_principle.items() if not is_repeat]
            price = _price(check, list(of_principle.values()))
            rows.append(JudgeRow(check, principle, judge_calibration(pairs), price, stale))
    return rows


def _is_asked() -> Q:
    return Q(probability__isnull=False) | ~Q(error="")


def _judged(choice: float, lengths: tuple[int, int], answer: dict[str, Any],
            again: dict[str, Any] | None) -> JudgedPair:
    return JudgedPair(choice, answer["probability"], answer["p_shown"], answer["p_swapped"],
                      again["probability"] if again else None, *lengths)


def _price(check: CalibrationCheck, answers: list[dict[str, Any]]) -> float | None:
    """Dollars for a thousand labels, by what these ones took; free where the judge is."""
    if check.judge.get("kind") == "rule":
        return 0.0
    price = Price(check.judge.get("price_in", 0.0), check.judge.get("price_out", 0.0))
    tokens = sum(answer["tokens"] for answer in answers)
    if not any(price) or not tokens:
        return None
    calls = sum(1 + (answer["p_swapped"] is not None) for answer in answers if answer["probability"] is not None)
    return 1000 * money(tokens, calls, price) / max(1, len(answers))


def _stale_judge(check: CalibrationCheck) -> str:
    judge = config.JudgeSettings.model_validate(check.judge)
    if judge.kind == "rule" or saved_judge_of(check.team, judge) is not None:
        return ""
    return "The saved judge has changed since, or was deleted."
