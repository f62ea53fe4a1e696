"""How far the scores of a preference model can be trusted: pure functions of lists of numbers. Torch-free.

Left out: confidence intervals of the calibration error, and calibration by anything but one temperature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

DECIDED = 0.05
"""A label within this of 1/2 is undecided: it does not count in a model's accuracy."""


def accuracy(differences: Sequence[float], labels: Sequence[float]) -> tuple[float, int]:
    """Share of decided labels whose side the score difference takes, ties counted half, and how many are decided."""
    sides = [(difference, label) for difference, label in zip(differences, labels, strict=True)
             if abs(label - 0.5) >= DECIDED]
    hits = sum(0.5 if difference == 0 else (difference > 0) == (label > 0.5) for difference, label in sides)
    return (hits / len(sides) if sides else 0.5), len(sides)


def soft_loss(differences: Sequence[float], labels: Sequence[float], temperature: float = 1.0) -> float:
    """Mean of -p log sigmoid(d / T) - (1 - p) log sigmoid(-d / T), in nats."""
    losses = (_softplus(-d / temperature) * p + _softplus(d / temperature) * (1 - p)
              for d, p in zip(differences, labels, strict=True))
    return math.fsum(losses) / max(1, len(labels))


def best_temperature(differences: Sequence[float], labels: Sequence[float]) -> float:
    """The temperature between 1/50 and 50 that minimises `soft_loss`: above 1 the model is overconfident."""
    low, high = -math.log(50), math.log(50)
    for _ in range(60):  # the loss has one minimum in log T: ternary search
        lower, upper = low + (high - low) / 3, high - (high - low) / 3
        if soft_loss(differences, labels, math.exp(lower)) < soft_loss(differences, labels, math.exp(upper)):
            high = upper
        else:
            low = lower
    return math.exp((low + high) / 2)


def reliability(differences: Sequence[float], labels: Sequence[float], bins: int = 10) -> list[dict[str, float]]:
    """The reliability curve of sigmoid(d) against soft labels, each pair seen from the side the model prefers.

    Returns:
        A row for each bin of confidence from 1/2 to 1 that holds any pair: `low` and `high` (its bounds), `n`, and the
        means `confidence` (what the model says) and `agreed` (what the labels say); equal where it is calibrated.
    """
    buckets: dict[int, list[tuple[float, float]]] = {}
    for difference, label in zip(differences, labels, strict=True):
        confidence = 1 / (1 + math.exp(-min(abs(difference), 700.0)))
        agreed = label if difference >= 0 else 1 - label
        buckets.setdefault(min(int((confidence - 0.5) * 2 * bins), bins - 1), []).append((confidence, agreed))
    return [{"low": 0.5 + place / (2 * bins), "high": 0.5 + (place + 1) / (2 * bins), "n": len(bucket),
             "confidence": math.fsum(c for c, _ in bucket) / len(bucket),
             "agreed": math.fsum(a for _, a in bucket) / len(bucket)} for place, bucket in sorted(buckets.items())]


def calibration_error(differences: Sequence[float], labels: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error: the mean distance of confidence and agreement over the bins of `reliability`."""
    rows = reliability(differences, labels, bins)
    return math.fsum(row["n"] * abs(row["confidence"] - row["agreed"]) for row in rows) / max(1, len(labels))


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's correlation; 0 where either does not vary."""
    n = max(1, len(xs))
    mean_x, mean_y = math.fsum(xs) / n, math.fsum(ys) / n
    covariance = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    spread = math.fsum((x - mean_x) ** 2 for x in xs) * math.fsum((y - mean_y) ** 2 for y in ys)
    return covariance / math.sqrt(spread) if spread > 0 else 0.0


def slope(values: Sequence[float], over: Sequence[float]) -> float:
    """By how much the values rise for each unit of `over`, by least squares; 0 where that does not vary."""
    n = max(1, len(over))
    mean, middle = math.fsum(values) / n, math.fsum(over) / n
    spread = math.fsum((x - middle) ** 2 for x in over)
    return math.fsum((x - middle) * (y - mean) for x, y in zip(over, values, strict=True)) / spread if spread else 0.0


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
