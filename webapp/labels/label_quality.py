"""Quality of labels by principle and judge, and agreement between judges, people and principles.

The number of queries is fixed. What is counted for one label at a time is counted in SQL; agreement on the same pairs
is counted from the sets of pairs of `answers.py`, which one query reads for the whole page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from training.judges.identity import judge_title
from training.judges.protocol import FAILURES
from webapp.accounts.models import Team
from webapp.labels.agreement import Agreement, in_words, relation
from webapp.labels.answers import Answers, agreement, human_choices, together
from webapp.labels.models import Label, LabelChange, Pair
from webapp.labels.prices import Price, money
from webapp.principles.models import Principle

ENOUGH_FOR_WORDS = 20  # pairs
BLIND = "reviewed by your team, blind"
NOT_BLIND = "reviewed by your team, not blind"
_SAYS_A, _SAYS_B = Q(probability__gt=0.5), Q(probability__lt=0.5)
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


def lines(principles: Mapping[int, Principle], answers: Sequence[Answers], labels: QuerySet[Label],
          prices: Mapping[str, Price]) -> list[QualityLine]:
    """A line for each principle and judge; `prices` are dollars per million tokens by the judge's name. One query, and
    none where every label of `labels`, which `answers` were read from, is usable."""
    failures = _failures(labels) if any(part.n > part.usable for part in answers) else {}
    result = []
    for asked, group in groupby(answers, key=lambda part: (part.principle, part.judge, part.prompt_version)):
        parts = list(group)
        n, usable, both, flips, tokens = (
            sum(column) for column in zip(*((part.n, part.usable, part.both, part.flips, part.tokens)
                                            for part in parts), strict=True))
        price = prices.get(asked[1])
        result.append(QualityLine(
            principles[asked[0]], asked[1], asked[2], n, usable, both, flips, sum(part.sureness for part in parts),
            failures.get(asked, {}), tokens, price and money(tokens, usable + both, price)))
    return result


def _failures(labels: QuerySet[Label]) -> dict[tuple[int, str, str], dict[str, int]]:
    """How many labels have no answer, by kind, for each principle, judge and version of the question. The kinds are
    looked for in labels without an answer only: sixteen comparisons of texts for every label took most of a page."""
    who = ("principle_version__principle", "judge", "prompt_version")
    counts = {f"failed_{kind}": Count("pk", filter=condition) for kind, condition in _FAILED.items()}
    failures = {}
    for row in labels.order_by().filter(probability__isnull=True).values(*who).annotate(n=Count("pk"), **counts):
        kinds = {FAILURES[kind]: row[f"failed_{kind}"] for kind in _FAILED if row[f"failed_{kind}"]}
        rest = row["n"] - sum(kinds.values())
        if rest > 0:
            kinds[FAILURES["other"]] = rest
        failures[row["principle_version__principle"], row["judge"], row["prompt_version"]] = kinds
    return failures


def between_judges(principles: Mapping[int, Principle], answers: Sequence[Answers]) -> list[Between]:
    """Every two judges (or versions of the question) that labelled the same pairs with the same wording."""
    counts: dict[tuple[int, str, str, str, str], list[int]] = {}
    for wording in sorted({part.wording for part in answers}):
        raters = sorted((part for part in answers if part.wording == wording),
                        key=lambda part: (part.judge, part.prompt_version))
        for first, second in combinations(raters, 2):
            agreed = agreement((first.says_a, first.says_b), (second.says_a, second.says_b))
            key = (first.principle, first.judge, first.prompt_version, second.judge, second.prompt_version)
            counts[key] = _added(counts.get(key), agreed)
    return [Between(principles[key[0]], asked_title(*key[1:3]), asked_title(*key[3:]), Agreement(*four))
            for key, four in sorted(counts.items()) if sum(four)]


def with_people(principles: Mapping[int, Principle], answers: Sequence[Answers], labels: QuerySet[Label],
                pairs: QuerySet[Pair]) -> list[Between]:
    """The agreement of each judge with the choices in the data, and with the reviewers of its labels: apart, those who
    decided blind and those who had the judge's answer before them. Three queries."""
    chosen = human_choices(pairs)
    counts: dict[tuple[int, str, str], list[int]] = {}
    for part in answers:
        key = (part.principle, part.judge, part.prompt_version)
        counts[key] = _added(counts.get(key), agreement((part.says_a, part.says_b), chosen))
    lines = [Between(principles[key[0]], asked_title(*key[1:]), "chosen in the dataset", Agreement(*four))
             for key, four in counts.items() if sum(four)]
    who = ("principle_version__principle", "judge", "prompt_version")
    reviewed = labels.filter(review__in=(Label.Review.APPROVED, Label.Review.OVERRIDDEN)).filter(
        _PERSON_A | _PERSON_B, _SAYS_A | _SAYS_B)
    blind = Exists(LabelChange.objects.filter(label=OuterRef("pk"), at=OuterRef("reviewed_at"), blind=True))
    for title, decided in ((BLIND, reviewed.filter(blind)), (NOT_BLIND, reviewed.exclude(blind))):
        rows = decided.order_by().values_list(*who).annotate(
            **_four(_SAYS_A, _SAYS_B, _PERSON_A, _PERSON_B)).order_by(*who)
        lines += [Between(principles[row[0]], asked_title(row[1], row[2]), title, Agreement(*row[3:])) for row in rows]
    return sorted(lines, key=lambda line: line.principle.pk)


def matrix(principles: Mapping[int, Principle], answers: Sequence[Answers]) -> list[list[Cell]]:
    """Rows of cells below the diagonal: how often two principles name the same winner by the same judge."""
    present = sorted({part.principle for part in answers})
    if len(present) < 2:
        return []
    counts = together(answers, present)
    return [[Cell(principles[present[i]], principles[present[j]], Agreement(*(int(part[i, j]) for part in counts)))
             for j in range(i)] for i in range(1, len(present))]


def _added(counts: list[int] | None, agreed: Agreement) -> list[int]:
    four = (agreed.both_a, agreed.first_a, agreed.second_a, agreed.both_b)
    return [before + more for before, more in zip(counts or (0, 0, 0, 0), four, strict=True)]


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
