"""The scalarizations of `training.reward.scalarization` in numpy, for pages: the web imports no torch.

Scores are standardised, [responses, principles]; weights any numbers, [principles], of which only ratios count. A test
holds every function to the engine's numbers to 1e-6. Left out: `constrained`, whose multipliers changed while the run
was trained, so that one number a response cannot be had from its scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from training.config import Function, Scalarization
from training.errors import BadSettings

Floats: TypeAlias = NDArray[np.float64]

SIGNED: frozenset[Function] = frozenset({"linear", "bernoulli_nash", "power_mean"})
"""Functions that have a meaning for a negative weight."""

NO_POWER = 1e-6  # powers closer to 0 are the geometric mean


def linear(z: Floats, w: Floats, _: Scalarization) -> Floats:
    rewards: Floats = z @ w
    return rewards


def worst_case(z: Floats, w: Floats, _: Scalarization) -> Floats:
    rewards: Floats = z[:, w > 0].min(axis=1)
    return rewards


def soft_max_min(z: Floats, w: Floats, settings: Scalarization) -> Floats:
    chosen = z[:, w > 0]
    rewards: Floats = (chosen * softmax(-chosen / settings.temperature, axis=1)).sum(axis=1)
    return rewards


def uncertainty_weighted(z: Floats, w: Floats, settings: Scalarization) -> Floats:
    chosen = z[:, w > 0]
    rewards: Floats = chosen.mean(axis=1) - settings.penalty * chosen.var(axis=1)
    return rewards


def lower_quantile(z: Floats, w: Floats, settings: Scalarization) -> Floats:
    chosen = np.sort(z[:, w > 0], axis=1)
    lowest = max(1, math.ceil(chosen.shape[1] * settings.quantile - 1e-9))
    rewards: Floats = chosen[:, :lowest].mean(axis=1)
    return rewards


def max_median(z: Floats, w: Floats, _: Scalarization) -> Floats:
    rewards: Floats = np.median(z[:, w > 0], axis=1)
    return rewards


def bernoulli_nash(z: Floats, w: Floats, _: Scalarization) -> Floats:
    rewards: Floats = np.exp((np.abs(w) * _log_sigmoid(z * np.sign(w))).sum(axis=1))
    return rewards


def power_mean(z: Floats, w: Floats, settings: Scalarization) -> Floats:
    if abs(settings.power) < NO_POWER:
        return bernoulli_nash(z, w, settings)
    part = w != 0
    logs = settings.power * _log_sigmoid(z[:, part] * np.sign(w[part])) + np.log(np.abs(w[part]))
    rewards: Floats = np.exp(logsumexp(logs, axis=1) / settings.power)
    return rewards


def tchebycheff(z: Floats, w: Floats, settings: Scalarization) -> Floats:
    chosen = w > 0
    rewards: Floats = (w[chosen] / w[chosen].mean() * (z[:, chosen] - settings.ideal)).min(axis=1)
    return rewards


FUNCTIONS: dict[Function, Callable[[Floats, Floats, Scalarization], Floats]] = {
    "linear": linear, "worst_case": worst_case, "soft_max_min": soft_max_min,
    "uncertainty_weighted": uncertainty_weighted, "lower_quantile": lower_quantile, "max_median": max_median,
    "bernoulli_nash": bernoulli_nash, "tchebycheff": tchebycheff, "power_mean": power_mean,
}  # fmt: skip


def lexicographic(z: Floats, w: Floats, thresholds: Floats) -> Floats:
    """Levels passed in order of weight before the first that is short, plus exp of its slack."""
    reward, short = np.zeros(len(z)), np.zeros(len(z), dtype=bool)
    steps = np.unique(w[w > 0])[::-1]
    for step in steps:
        slack = (z - thresholds)[:, w == step].min(axis=1)
        passed = 1 + (slack if step == steps[-1] else 0)
        reward += np.where(short, 0, np.where(slack < 0, np.exp(np.minimum(slack, 0)), passed))
        short |= slack < 0
    return reward


def rewards_of(scores: Floats, weights: Mapping[str, float], settings: Scalarization) -> Floats:
    """The reward of each response, [responses].

    Args:
        scores: a column for each of `weights`, in their order.

    Raises:
        BadSettings: no weight can be used, or the function is not here.
    """
    names, function = list(weights), settings.function
    w = np.array([weights[name] for name in names], dtype=np.float64)
    usable = w != 0 if function in SIGNED else w > 0
    if not usable.any():
        raise BadSettings(f"No principle has a weight that the scalarization '{function}' can use.",
                          "Give at least one principle a weight above zero.")
    w = w / np.abs(w).sum()
    side = np.where(w < 0, -1.0, 1.0)
    caps = np.array([settings.caps.get(name, math.inf) for name in names])
    z = side * np.minimum(side * scores.astype(np.float64), caps)
    if function == "lexicographic":
        return lexicographic(z, w, np.array([settings.thresholds.get(name, settings.threshold) for name in names]))
    if function not in FUNCTIONS:
        raise BadSettings(f"What '{function}' would give cannot be said afterwards: its multipliers changed as the run "
                          "was trained.", "Choose another scalarization.")
    return FUNCTIONS[function](z, w, settings)


def _log_sigmoid(x: Floats) -> Floats:
    logs: Floats = -np.logaddexp(0.0, -x)
    return logs
