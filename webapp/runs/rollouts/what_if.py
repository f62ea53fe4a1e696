"""What other weights or another scalarization would have made of a run's kept responses: no GPU, no requests.

It says how much the order of the responses changes, which responses best of n would pick instead, and where the two
rewards disagree most. It cannot say how a policy trained so would answer: the responses are those of this run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from training.config import Scalarization
from webapp.runs.rollouts.rescalarize import Floats, rewards_of

GROUP = 8  # responses among which best of n picks
DISAGREEMENTS = 6


@dataclass(frozen=True)
class Change:
    """What becomes of a principle: its mean score over the responses that best of n picks, before and after."""

    principle: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class WhatIf:
    """Two rewards of the same responses, compared.

    Attributes:
        tau: Kendall's tau-b between the two orders: 1 the same, -1 the reverse; NaN where a reward is the same for all.
        flipped: the share of pairs of responses whose order turns; pairs that either reward calls equal count as kept.
        picked_otherwise: the share of groups in which best of n would pick another response.
        changes: by principle.
        disagreements: places of the responses that one of the two ranks far above the other does, the largest first.
        ranks: the share of responses that each is better than, before and after, [responses, 2]; ties count half.
    """

    tau: float
    flipped: float
    groups: int
    picked_otherwise: float
    changes: list[Change]
    disagreements: list[int]
    ranks: Floats


def what_if(scores: Floats, weights: Mapping[str, float], settings: Scalarization, reward: Floats,
            steps: NDArray[np.int64]) -> WhatIf:
    """Compare the reward that responses had with the one that these settings give them.

    Args:
        scores: standardised, [responses, principles], in the order of `weights`.
        reward: scalarized as the run did, [responses].
        steps: the phase of each response, ascending; best of n picks within a phase, among GROUP that follow another.

    Raises:
        BadSettings: as `rewards_of`.
    """
    changed = rewards_of(scores, weights, settings)
    ranks = np.stack([(rankdata(values) - 0.5) / len(values) for values in (reward, changed)], axis=1)
    picks = _picks(reward, changed, steps)
    means = [scores[picks[:, side]].mean(axis=0) if len(picks) else np.full(scores.shape[1], np.nan) for side in (0, 1)]
    order = np.argsort(-np.abs(ranks[:, 1] - ranks[:, 0]), kind="stable")[:DISAGREEMENTS]
    changes = [Change(name, float(before), float(after)) for name, before, after in zip(weights, *means, strict=True)]
    return WhatIf(
        tau=float(kendalltau(reward, changed).statistic), flipped=_flipped(reward, changed), groups=len(picks),
        picked_otherwise=float((picks[:, 0] != picks[:, 1]).mean()) if len(picks) else 0.0, changes=changes,
        disagreements=[int(place) for place in order if ranks[place, 0] != ranks[place, 1]], ranks=ranks)


def _picks(reward: Floats, changed: Floats, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each group of responses the place of the best by either reward, [groups, 2]."""
    picks = []
    for step in np.unique(steps):
        places = np.flatnonzero(steps == step)
        groups = places[:len(places) // GROUP * GROUP].reshape(-1, GROUP)
        rows = np.arange(len(groups))
        picks.append(np.stack([groups[rows, values[groups].argmax(axis=1)] for values in (reward, changed)], axis=1))
    return np.concatenate(picks) if picks else np.zeros((0, 2), dtype=np.int64)


def _flipped(reward: Floats, changed: Floats) -> float:
    """From tau-b: concordant less discordant pairs is tau times the root of the pairs that are no ties in either."""
    pairs = len(reward) * (len(reward) - 1) / 2
    tied_before, tied_after = _ties(reward), _ties(changed)
    tied_in_both = _ties(np.unique(np.stack([reward, changed], axis=1), axis=0, return_inverse=True)[1].ravel())
    untied = pairs - tied_before - tied_after + tied_in_both
    if untied <= 0:
        return 0.0
    tau = kendalltau(reward, changed).statistic
    difference = tau * np.sqrt((pairs - tied_before) * (pairs - tied_after))
    return float((untied - difference) / 2 / pairs)


def _ties(values: NDArray[np.generic]) -> float:
    """Pairs of equal values."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())
