"""The learning curve of a preference model: its held-out accuracy by how many labels it learnt from.

The same model is trained on an eighth, a quarter and a half of the training pairs as well, each part within the next,
and all are measured on the same held-out pairs. So the last doubling can be judged pair by pair: of the pairs that only
one of two models gets right, how many were won (McNemar 1947, exact). Torch-free. Left out: a fitted power law, for
which four points are too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from training.quality.calibration import DECIDED, accuracy
from training.quality.intervals import wilson_interval
from training.run.artifacts import digest_of

SHARES = (0.125, 0.25, 0.5)
LEAST = 8
"""Fewer pairs than this make no point of the curve."""

Pair = TypeVar("Pair")


def parts(pairs: Sequence[Pair], digests: Sequence[str], seed: int) -> list[list[Pair]]:
    """The nested parts of the pairs, smallest first, drawn by seed and digest; without those that are too small."""
    order = sorted(range(len(pairs)), key=lambda index: digest_of([seed, "part", digests[index]]))
    sizes = [round(share * len(pairs)) for share in SHARES]
    return [[pairs[index] for index in sorted(order[:size])] for size in sizes if size >= LEAST]


def curve(labels: Sequence[int], differences: Sequence[Sequence[float]], truth: Sequence[float]) -> dict[str, Any]:
    """What a card says of its curve.

    Args:
        labels: how many labels each model learnt from, rising.
        differences: each model's score differences on the held-out pairs.
        truth: the judge's probabilities of the held-out pairs.

    Returns:
        `learning_curve`: `labels`, `accuracy`, `low` and `high` (95 %, Wilson) of each point; `last_doubling`: pairs
        that the last model gets right and the one before does not (`won`), the reverse (`lost`), and the two-sided `p`
        value.
    """
    from scipy.stats import binomtest  # it takes 0.8 s of the start of every stage with a model, and few have a curve

    points = []
    for count, model_differences in zip(labels, differences, strict=True):
        share, decided = accuracy(model_differences, truth)
        low, high = wilson_interval(share * decided, decided)
        points.append({"labels": count, "accuracy": share, "low": low, "high": high})
    before, after = (_is_right(model_differences, truth) for model_differences in differences[-2:])
    won = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return {"learning_curve": points, "last_doubling": {"won": won, "lost": lost, "p": p}}


def _is_right(differences: Sequence[float], truth: Sequence[float]) -> list[bool]:
    """Whether the difference is on the label's side, of each decided label."""
    return [difference != 0 and (difference > 0) == (label > 0.5)
            for difference, label in zip(differences, truth, strict=True) if abs(label - 0.5) >= DECIDED]
