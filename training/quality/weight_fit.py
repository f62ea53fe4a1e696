"""Weights fitted to choices, and how far they can be trusted: logistic regression, bootstrap, ablation. Torch-free.

The regression is of the choice on the difference of standardised scores, each row mirrored with its sign turned, so
that no intercept is needed (arXiv 2406.07295). Its intervals are the percentiles of a bootstrap of the rows (Efron
1979, doi 10.1214/aos/1176344552). The value of a principle is the accuracy that is lost when it is left out: alone, and
on average over several orders in which all are dropped one by one, because two correlated principles hide each other's
value if only one is ever missing. Accuracy is cross-validated: a row is never evaluated with weights that were fitted
to it.

Left out: penalties other than scikit-learn's own (C = 1), and interactions between principles.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.quality.calibration import accuracy
from training.quality.intervals import wilson_interval

RESAMPLES = 200
FOLDS = 5
ALL_ORDERS_UP_TO, MOST_ORDERS = 4, 8

Floats = NDArray[np.float64]


def fit(differences: Floats | Sequence[Sequence[float]], choices: Floats | Sequence[float]) -> list[float]:
    """Weights of a logistic regression without intercept.

    Args:
        differences: [rows, principles], z_a - z_b.
        choices: [rows], 1.0 where a person chose `a`, 0.0 where `b`; anything between weighs both.
    """
    return [float(weight) for weight in _fitted(np.asarray(differences, float), np.asarray(choices, float))]


def _fitted(differences: Floats, choices: Floats, times: Floats | None = None) -> Floats:
    """As `fit`; each row counts `times` over, [rows]."""
    from sklearn.linear_model import LogisticRegression

    counted = np.ones(len(choices)) if times is None else times
    # Each row and its mirror image; a soft choice enters twice, for and against, weighted by its probability.
    rows = np.concatenate([differences, -differences, differences, -differences])
    targets = np.repeat([1, 0], 2 * len(choices))
    shares = np.concatenate([choices, 1 - choices, 1 - choices, choices]) * np.tile(counted, 4)
    used = shares > 0
    # Few columns, many rows: this solver needs a few steps where the default needs dozens, for the same weights.
    regression = LogisticRegression(fit_intercept=False, solver="newton-cholesky")
    weights: Floats = regression.fit(rows[used], targets[used], shares[used]).coef_[0]
    return weights


def intervals(differences: Sequence[Sequence[float]], choices: Sequence[float], seed: int = 0,
              between: Callable[[], None] = lambda: None) -> list[tuple[float, float]]:
    """95 % intervals of the weights, one per principle, in the unit of the shares: the sum of absolute values of the
    weights fitted to all rows is 1. (Shares of each resample would be folded at zero: |w| hides the sign.)

    Args:
        between: called before each resample; may raise.
    """
    table, chosen = np.asarray(differences, float), np.asarray(choices, float)
    draw = np.random.default_rng(seed)
    resampled = []
    for _ in range(RESAMPLES):
        between()
        times = draw.multinomial(len(chosen), np.full(len(chosen), 1 / len(chosen))).astype(float)
        resampled.append(_fitted(table, chosen, times))
    unit = np.abs(_fitted(table, chosen)).sum() or 1.0
    low, high = np.quantile(np.array(resampled) / unit, [0.025, 0.975], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def ablation(names: Sequence[str], differences: Sequence[Sequence[float]], choices: Sequence[float], seed: int = 0,
             between: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The accuracy lost when principles are left out; weights are fitted again each time.

    Returns:
        `accuracy` (`value`, `low`, `high`, `n`) with all principles; `alone` and `in_orders` by principle: the accuracy
        it costs to leave out this one, and on average over `orders` orders of dropping all one by one; `dropped`: the
        mean accuracy when 0, 1, 2 ... are dropped. With none left accuracy is a half.
    """
    table, chosen = np.asarray(differences, float), np.asarray(choices, float)
    cached: dict[frozenset[int], tuple[float, int]] = {}

    def accuracy_of(principles: Sequence[int]) -> float:
        key = frozenset(principles)
        if key not in cached:
            between()
            cached[key] = _cross_validated(table[:, sorted(key)], chosen, seed) if key else (0.5, 0)
        return cached[key][0]

    everything = range(len(names))
    draw = random.Random(seed)
    orders = list(itertools.permutations(everything)) if len(names) <= ALL_ORDERS_UP_TO else [
        tuple(draw.sample(everything, len(names))) for _ in range(MOST_ORDERS)]
    costs = {name: [accuracy_of(order[place:]) - accuracy_of(order[place + 1:]) for order in orders
                    for place in [order.index(i)]] for i, name in enumerate(names)}
    full_accuracy, decided = accuracy_of(everything), cached[frozenset(everything)][1]
    low, high = wilson_interval(full_accuracy * decided, decided)
    return {
        "accuracy": {"value": full_accuracy, "low": low, "high": high, "n": decided},
        "alone": {name: full_accuracy - accuracy_of([j for j in everything if j != i]) for i, name in enumerate(names)},
        "in_orders": {name: sum(cost) / len(cost) for name, cost in costs.items()},
        "dropped": [sum(accuracy_of(order[count:]) for order in orders) / len(orders) for count in range(len(names))],
        "orders": len(orders),
    }


def _cross_validated(differences: Floats, choices: Floats, seed: int) -> tuple[float, int]:
    """The share of decided choices predicted correctly by weights fitted to the other folds, and how many are
    decided."""
    place = np.random.default_rng(seed).permutation(len(choices)) % min(FOLDS, len(choices))
    predicted = np.zeros(len(choices))
    for fold in np.unique(place):
        rest = place != fold
        if rest.any():
            predicted[~rest] = differences[~rest] @ _fitted(differences[rest], choices[rest])
    return accuracy(predicted.tolist(), choices.tolist())
