"""Whether preference models are any better than a coin, from the counts on their cards. Torch-free.

The labels of one principle are often too few to tell a weak judge from a coin, those of all principles of a run are
not: a judge that answers by chance does so on every principle. So the models are tested together, and one of them
alone only where its labels leave no doubt. Counted are the held-out labels, or all of them where `cross_fit` looked.

Left out: a test per prompt (pairs of one prompt count as independent), and weights by how sure a label is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from training.quality.intervals import wilson_interval

LEAST = 100
"""Labels; with fewer, nothing stops a run. With 115, a one-sided test at 5 % finds a true accuracy of 0.65 in 95 of 100
runs."""

Z_ONE_SIDED = 1.644854
"""The 95 % quantile of the standard normal distribution: the test's level is 5 %, one-sided."""

OF_USE = 0.53
"""A single model stops the run where even the upper end of its accuracy's 95 % interval is below this. Models of a
judge that is right in 60 % of its answers agree with some 55 % of its labels; at 0.55 one of four was stopped."""

LEAST_DECIDED = 0.05
"""Where the upper end of the share of decided labels is below this, there is nothing to learn from."""


class ChanceProblem(NamedTuple):
    """Why preference models are no better than a coin: one sentence, and the principles that it is about."""

    cause: str
    principles: tuple[str, ...]


class _Unseen(NamedTuple):
    """Labels of pairs that the model scored without having seen them: all, the decided ones, those it agrees with."""

    labels: int
    decided: int
    right: float


def chance_problem(cards: Mapping[str, Mapping[str, Any]]) -> ChanceProblem | None:
    """What is wrong with the models whose cards these are, by principle; None where they may go on.

    Args:
        cards: with `held_out`, `decided` and `accuracy`, or `cross_labels`, `cross_decided` and `cross_accuracy`.
    """
    counts = {name: _unseen(card) for name, card in cards.items()}
    names = ", ".join(counts)
    labels, decided, right = (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0, 0.0)
    if labels >= LEAST and wilson_interval(decided, labels)[1] < LEAST_DECIDED:
        return ChanceProblem(f"Only {decided:,} of {labels:,} labels name a winner, so that there is nothing to learn "
                             f"from them ({names}).", tuple(counts))
    if decided >= LEAST and wilson_interval(right, decided, Z_ONE_SIDED)[0] <= 0.5:
        return ChanceProblem("The preference models do no better than a coin: on pairs that they had not seen they "
                             f"agree with {_words(right, decided)} ({names}).", tuple(counts))
    for name, unseen in counts.items():
        if unseen.decided >= LEAST and wilson_interval(unseen.right, unseen.decided)[1] < OF_USE:
            return ChanceProblem(f"The preference model of '{name}' is of no use: on pairs that it had not seen it "
                                 f"agrees with {_words(unseen.right, unseen.decided)}.", (name,))
    return None


def _unseen(card: Mapping[str, Any]) -> _Unseen:
    if "cross_labels" in card:
        return _Unseen(card["cross_labels"], card["cross_decided"], card["cross_accuracy"] * card["cross_decided"])
    return _Unseen(card["held_out"], card["decided"], card["accuracy"] * card["decided"])


def _words(right: float, n: int) -> str:
    low, high = wilson_interval(right, n)
    return f"{right / n:.0%} ({low:.0%} to {high:.0%}) of {n:,} labels"
