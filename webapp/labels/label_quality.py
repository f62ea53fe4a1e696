"""Quality of labels by principle and judge, and agreement between judges, people and principles.

The number of queries is fixed. Everything is counted in SQL except the matrix of principles: a join of all labels with
all labels of the same pair takes seconds, one pass over narrow rows a few tenths, so those counts are matrix products
(see the design notes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from training.judges.identity import judge_title
from training.judges.protocol import FAILURES
from webapp.accounts.models import Team
from webapp.labels.agreement import Agreement, in_words, relation
from webapp.labels.models import Label, LabelChange
from webapp.labels.prices import Price, money
from webapp.principles.models import Principle

ENOUGH_FOR_WORDS = 20  # pairs
MOST_ROWS = 200_000  # the newest labels count in the matrix of principles
NOT_BLIND = "reviewed by your team, not blind"
_SAYS_A, _SAYS_B = Q(probability__gt=0.5), Q(probability__lt=0.5)
_OTHER_A, _OTHER_B = Q(pair__labels__probability__gt=0.5), Q(pair__labels__probability__lt=0.5)
_HUMAN_A, _HUMAN_B = Q(pair__human__gt=0.5), Q(pair__human__lt=0.5)
_KEPT = Q(review=Label.Review.APPROVED)
_MENDED = Q(review=Label.Review.OVERRIDDEN)
_PERSON_A = _KEPT & _SAYS_A | _MENDED & Q(corrected_probability__gt=0.5)
_PERSON_B = _KEPT & _SAYS_B | _MENDED & Q(corrected_probability__lt=0.5)


# The kinds of failure that an error names at its beginning, or after the order that it happened in.
_FAILED = {kind: Q(error__startswith="HTTP " if kind == "rejected" else f"{kind}:") | Q(error__contains=f": {kind}: ")
           for kind in FAILURES if kind != "other"}


@dataclass(frozen=True)
class QualityLine:
    """The labels of one principle by one judge."""

    principle: Principle
    judge: str
    prompt_version: str
    n: int
    usable: int
    both: int  # asked in both orders
    flips: int
    sureness: float  # sum of confidences
    failures: Mapping[str, int]
    tokens: int
    money: float | None  # what they cost at the judge's price; None where it is not known

    @property
    def title(self) -> str:
        return asked_title(self.judge, self.prompt_version)

    @property
    def unusable(self) -> int:
        return self.n - self.usable

    @property
    def flip_rate(self) -> float | None:
        return self.flips / self.both if self.both else None

    @property
    def confidence(self) -> float | None:
        return self.sureness / self.usable if self.usable else None

    @property
    def money_each(self) -> float | None:
        """Dollars per usable label; the cost of unusable ones is included."""
        return self.money / self.usable if self.usable and self.money is not None else None

    @property
    def tokens_each(self) -> float | None:
        return self.tokens / self.usable if self.usable else None


@dataclass(frozen=True)
class Between:
    """The agreement of two raters who labelled the same pairs on the same principle."""

    principle: Principle
    first: str
    second: str
    agreement: Agreement

    @property
    def words(self) -> str:
        """The strength of the agreement; empty where there are too few pairs for a word."""
        return in_words(self.agreement.kappa) if self.agreement.n >= ENOUGH_FOR_WORDS else ""


@dataclass(frozen=True)
class Cell:
    """How two principles agree on the same pairs by the same judge."""

    row: Principle
    column: Principle
    agreement: Agreement

    @property
    def relation(self) -> str:
        return relation(self.agreement)

    @property
    def shade(self) -> str:
        """A class for the cell's colour, by kappa in fifths."""
        kappa = self.agreement.kappa
        if kappa is None:
            return "is-none"
        return f"is-{'plus' if kappa >= 0 else 'minus'}-{min(int(abs(kappa) * 5), 4)}"


def lines(principles: Mapping[int, Principle], labels: QuerySet[Label],
          prices: Mapping[str, Price]) -> list[QualityLine]:
    """A line for each principle and judge; `prices` are dollars per million tokens by the judge's name. One query."""
    who = ("principle_version__principle", "judge", "prompt_version")
    counts = {"n": Count("pk"), "usable": Count("probability"), "both": Count("order_gap"),
              "flips": Count("pk", filter=Q(order_flip=True)), "sureness": Coalesce(Sum("confidence"), 0.0),
              "tokens_all": Coalesce(Sum("tokens"), 0)}
    counts |= {f"failed_{kind}": Count("pk", filter=condition) for kind, condition in _FAILED.items()}
    result = []
    for row in labels.order_by().values(*who).annotate(**counts).order_by(*who):
        failures = {FAILURES[kind]: row[f"failed_{kind}"] for kind in _FAILED if row[f"failed_{kind}"]}
        rest = row["n"] - row["usable"] - sum(failures.values())
        if rest > 0:
            failures[FAILURES["other"]] = rest
        price = prices.get(row["judge"])
        cost = price and money(row["tokens_all"], row["usable"] + row["both"], price)
        result.append(QualityLine(
            principles[row["principle_version__principle"]], row["judge"], row["prompt_version"], row["n"],
            row["usable"], row["both"], row["flips"], row["sureness"], failures, row["tokens_all"], cost))
    return result


def between_judges(principles: Mapping[int, Principle], labels: QuerySet[Label]) -> list[Between]:
    """Every two judges (or versions of the question) that labelled the same pairs with the same wording."""
    later = Q(pair__labels__judge__gt=F("judge")) | Q(pair__labels__judge=F("judge"),
                                                      pair__labels__prompt_version__gt=F("prompt_version"))
    joined = labels.order_by().filter(
        _SAYS_A | _SAYS_B, later, _OTHER_A | _OTHER_B, pair__labels__principle_version=F("principle_version"),
        pair__labels__team=F("team"))
    who = ("principle_version__principle", "judge", "prompt_version", "pair__labels__judge",
           "pair__labels__prompt_version")
    rows = joined.values_list(*who).annotate(**_four(_SAYS_A, _SAYS_B, _OTHER_A, _OTHER_B)).order_by(*who)
    return [Between(principles[row[0]], asked_title(row[1], row[2]), asked_title(row[3], row[4]), Agreement(*row[5:]))
            for row in rows]


def with_people(principles: Mapping[int, Principle], labels: QuerySet[Label]) -> list[Between]:
    """The agreement of each judge with the choices in the data, and with the reviewers of its labels: apart, those who
    decided blind and those who had the judge's answer before them."""
    lines = []
    who = ("principle_version__principle", "judge", "prompt_version")
    reviewed = labels.filter(_PERSON_A | _PERSON_B)
    blind = Exists(LabelChange.objects.filter(label=OuterRef("pk"), at=OuterRef("reviewed_at"), blind=True))
    sources = (("chosen in the data set", (_HUMAN_A, _HUMAN_B), labels.filter(_HUMAN_A | _HUMAN_B)),
               ("reviewed by your team, blind", (_PERSON_A, _PERSON_B), reviewed.filter(blind)),
               (NOT_BLIND, (_PERSON_A, _PERSON_B), reviewed.exclude(blind)))
    for title, (says_a, says_b), chosen in sources:
        rows = chosen.order_by().filter(_SAYS_A | _SAYS_B).values_list(*who).annotate(
            **_four(_SAYS_A, _SAYS_B, says_a, says_b)).order_by(*who)
        lines += [Between(principles[row[0]], asked_title(row[1], row[2]), title, Agreement(*row[3:])) for row in rows]
    return sorted(lines, key=lambda line: line.principle.pk)


def matrix(principles: Mapping[int, Principle], labels: QuerySet[Label]) -> list[list[Cell]]:
    """Rows of cells below the diagonal: how often two principles name the same winner by the same judge."""
    rows = list(labels.order_by("-pk").filter(probability__isnull=False).values_list(
        "pair_id", "judge", "principle_version__principle", "probability")[:MOST_ROWS])
    present = sorted({row[2] for row in rows})
    if len(present) < 2:
        return []
    counts = _together(rows, present)
    return [[Cell(principles[present[i]], principles[present[j]], Agreement(*(int(part[i, j]) for part in counts)))
             for j in range(i)] for i in range(1, len(present))]


def _together(rows: Sequence[tuple[int, str, int, float | None]], present: list[int]) -> tuple[np.ndarray, ...]:
    """[principle, principle] counts of pairs, in the order of Agreement: both A, first only, second only, both B."""
    judges = {name: place for place, name in enumerate(sorted({row[1] for row in rows}))}
    keys = np.array([row[0] * len(judges) + judges[row[1]] for row in rows], dtype=np.int64)
    places = np.unique(keys, return_inverse=True)[1]
    column = {principle: place for place, principle in enumerate(present)}
    says = np.zeros((int(places.max()) + 1, len(present)), dtype=np.float32)
    says[places, [column[row[2]] for row in rows]] = np.sign(np.array([row[3] for row in rows], dtype=np.float64) - 0.5)
    a, b = (says > 0).astype(np.float32), (says < 0).astype(np.float32)
    return a.T @ a, a.T @ b, b.T @ a, b.T @ b


def _four(first_a: Q, first_b: Q, second_a: Q, second_b: Q) -> dict[str, Count]:
    """The four counts of an Agreement, in its order."""
    parts = {"both_a": first_a & second_a, "first_a": first_a & second_b, "second_a": first_b & second_a,
             "both_b": first_b & second_b}
    return {name: Count("pk", filter=condition) for name, condition in parts.items()}


def asked_title(judge: str, prompt_version: str) -> str:
    """A judge and its version of the question, for people."""
    return f"{judge_title(judge)}, question {prompt_version}" if prompt_version else judge_title(judge)


def principles_of(team: Team) -> dict[int, Principle]:
    return {principle.pk: principle for principle in Principle.objects.of(team)}
