"""Strengths of policies with length taken out, as Chatbot Arena does: one more covariate in the regression of votes.

    log-odds(first wins) = s_first - s_second + b (len_first - len_second) / (len_first + len_second)

`b` says how much a longer answer is preferred whoever gave it; the strengths are what is left. Intervals are normal,
from the inverse information. A weak prior (ridge 0.05 on every strength, in place of the tied votes of
`bradley_terry`) keeps a policy that won everything finite.

Left out: other covariates of style, such as lists, headings and bold text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.quality.bradley_terry import Floats, Strengths
from training.quality.intervals import Z_95

RIDGE = 0.05
STEPS = 50


class LengthVote(NamedTuple):
    """A vote with the relative difference in length, from -1 to 1, positive where the first is longer."""

    first: int
    second: int
    score: float
    length: float


class Fit(NamedTuple):
    """Coefficients [features] of a logistic regression without intercept and their covariance [features, features]."""

    value: Floats
    covariance: Floats

    def interval(self, place: int) -> tuple[float, float]:
        half_width = Z_95 * float(np.sqrt(max(self.covariance[place, place], 0.0)))
        return float(self.value[place]) - half_width, float(self.value[place]) + half_width


def logistic_fit(rows: Floats, targets: Floats, ridge: Floats) -> Fit:
    """Newton's method on the penalised log-likelihood; targets may be 1/2.

    Args:
        rows: [votes, features]. targets: [votes] in [0, 1]. ridge: [features], the precision of each one's prior.
    """
    value = np.zeros(rows.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(rows @ value, -30, 30)))
        information = rows.T @ (rows * (p * (1 - p))[:, None]) + np.diag(ridge)
        step = np.linalg.solve(information, rows.T @ (targets - p) - ridge * value)
        value = value + step / max(1.0, float(np.abs(step).max()))  # at most one nat, so that it cannot overshoot
        if np.abs(step).max() < 1e-9:
            break
    return Fit(value, np.asarray(np.linalg.inv(information), dtype=np.float64))


def with_length(votes: Sequence[LengthVote], policies: int) -> tuple[Strengths, tuple[float, float, float]]:
    """Strengths with length taken out, and the coefficient of length with its interval."""
    table = np.array(votes, dtype=np.float64).reshape(-1, 4)
    rows = np.zeros((len(table), policies + 1))
    places = np.arange(len(table))
    rows[places, table[:, 0].astype(int)] = 1
    rows[places, table[:, 1].astype(int)] = -1
    rows[:, policies] = table[:, 3]
    fit = logistic_fit(rows, table[:, 2], np.array([RIDGE] * (policies + 1)))
    centre = np.eye(policies) - 1 / policies
    value = centre @ fit.value[:policies]
    half = Z_95 * np.sqrt(np.maximum(np.diag(centre @ fit.covariance[:policies, :policies] @ centre.T), 0))
    return Strengths(value, value - half, value + half), (float(fit.value[policies]), *fit.interval(policies))
