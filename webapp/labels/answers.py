"""What a judge answered on one wording of a principle: counts, and the pairs on which it names A, and B.

The database joins the ids of the pairs to one text for each judge and wording: 100,000 labels are read as fifty texts
in a few hundredths of a second, where a row for each label takes ten times as long, and a join of all labels with all
labels of the same pair longer still (see the design notes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Aggregate, Count, Q, QuerySet, Sum, TextField
from django.db.models.functions import Coalesce

from webapp.labels.agreement import Agreement
from webapp.labels.models import Label, Pair
from webapp.principles.models import PrincipleVersion

PAIRS_AT_ONCE = 100_000  # of the matrix: 25 principles and three arrays of them take 30 MB


class PairIds(Aggregate):
    """The ids of pairs, joined by commas; NULL for none."""

    function = "GROUP_CONCAT"
    output_field = TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        joined = self.copy()
        joined.template = "STRING_AGG(%(expressions)s::text, ',')"
        return joined.as_sql(compiler, connection, **extra)


@dataclass(frozen=True)
class Answers:
    """One judge's labels on one wording of a principle."""

    principle: int
    wording: int  # PrincipleVersion
    judge: str
    prompt_version: str
    n: int
    usable: int
    both: int  # asked in both orders
    flips: int
    sureness: float  # sum of confidences
    tokens: int
    says_a: np.ndarray  # ids of pairs on which it names A, ascending; ties are in neither
    says_b: np.ndarray


def answers_of(labels: QuerySet[Label]) -> list[Answers]:
    """By principle, judge, version of the question and wording. Two queries: a join of every label with its wording
    would take twice as long."""
    who = ("principle_version", "judge", "prompt_version")
    rows = list(labels.order_by().values_list(*who).annotate(
        n=Count("pk"), usable=Count("probability"), both=Count("order_gap"),
        flips=Count("pk", filter=Q(order_flip=True)), sureness=Coalesce(Sum("confidence"), 0.0),
        tokens_all=Coalesce(Sum("tokens"), 0),
        a=PairIds("pair_id", filter=Q(probability__gt=0.5)), b=PairIds("pair_id", filter=Q(probability__lt=0.5))))
    principle_of = dict(PrincipleVersion.objects.filter(pk__in={row[0] for row in rows})
                        .values_list("pk", "principle_id"))
    answers = [Answers(principle_of[wording], wording, judge, version, n, usable, both, flips, sureness, tokens,
                       ids(a), ids(b))
               for wording, judge, version, n, usable, both, flips, sureness, tokens, a, b in rows]
    return sorted(answers, key=lambda part: (part.principle, part.judge, part.prompt_version, part.wording))


def human_choices(pairs: QuerySet[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of which people chose A, and B, in the data. One query."""
    joined = pairs.order_by().aggregate(a=PairIds("pk", filter=Q(human__gt=0.5)),
                                        b=PairIds("pk", filter=Q(human__lt=0.5)))
    return ids(joined["a"]), ids(joined["b"])


def ids(text: str | None) -> np.ndarray:
    """The ids in a text of PairIds, ascending."""
    return np.sort(np.fromstring(text or "", dtype=np.int64, sep=","))


def agreement(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Agreement:
    """Of two raters, each given as the pairs on which it names A, and B."""
    return Agreement(*(len(np.intersect1d(mine, theirs, assume_unique=True)) for mine in first for theirs in second))


def together(answers: Sequence[Answers], present: Sequence[int]) -> tuple[np.ndarray, ...]:
    """How often two principles name the same winner of the same pair by the same judge.

    Returns:
        Four arrays [principle, principle] of counts, in the order of Agreement: both A, first only, second only,
        both B. Where a judge answered two wordings of a principle, or two versions of the question, the newest counts.
    """
    column = {principle: place for place, principle in enumerate(present)}
    counts = tuple(np.zeros((len(present), len(present)), dtype=np.int64) for _ in range(4))
    for judge in sorted({part.judge for part in answers}):
        oldest_first = sorted((part for part in answers if part.judge == judge),
                              key=lambda part: (part.wording, part.prompt_version))
        pairs = np.unique(np.concatenate([side for part in oldest_first for side in (part.says_a, part.says_b)]))
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            some = pairs[start:start + PAIRS_AT_ONCE]
            winners = np.zeros((len(some), len(present)), dtype=np.float32)
            for part in oldest_first:
                for side, sign in ((part.says_a, 1), (part.says_b, -1)):
                    inside = side[np.searchsorted(side, some[0]):np.searchsorted(side, some[-1], side="right")]
                    winners[np.searchsorted(some, inside), column[part.principle]] = sign
            a, b = (winners > 0).astype(np.float32), (winners < 0).astype(np.float32)
            for total, product in zip(counts, (a.T @ a, a.T @ b, b.T @ a, b.T @ b), strict=True):
                total += product.astype(np.int64)
    return counts
