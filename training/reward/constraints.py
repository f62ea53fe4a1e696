"""What bounds a scalarization by name: caps, thresholds, and multipliers that learn.

A hard constraint says that a principle's mean score must reach a threshold. Its Lagrange multiplier is learnt together
with the policy as in Safe RLHF (arXiv 2310.12773, equation 11): ln lambda grows by rate * lambda * shortfall after
every phase, so that it stays positive, rises while the constraint is broken and falls while it is kept. The policy sees

    (reward + sum_c lambda_c (z_c - d_c)) / (1 + sum_c lambda_c),

whose scale does not grow with the multipliers. Left out: constraints on quantiles or on single responses, a momentum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from training.config import Scalarization
from training.run.artifacts import read_json

LEAST, MOST = 1e-3, 1e3
"""Bounds of the multipliers: one at 0 could not recover, and one that diverges means that its constraint cannot be
met."""


class Limits(NamedTuple):
    """By principle, each [principle].

    Attributes:
        caps: scores beyond them earn nothing more, in the direction of the weight; infinite where there is none.
        thresholds: standardised scores that are good enough.
        multipliers: Lagrange multipliers; 0 where a principle is no constraint.
    """

    caps: Tensor
    thresholds: Tensor
    multipliers: Tensor


def no_limits(principles: int, settings: Scalarization) -> Limits:
    """Of principles that no setting names."""
    return Limits(torch.full((principles,), math.inf), torch.full((principles,), settings.threshold),
                  torch.zeros(principles))


class Constraints:
    """The limits of a run's principles, and the multipliers as they learn; a checkpoint holds `state_dict`.

    What is set for a principle that `names` lacks, as in a baseline, is ignored: the recipe has checked the names.
    """

    def __init__(self, names: Sequence[str], settings: Scalarization) -> None:
        self._names = tuple(names)
        self._settings = settings
        learns = settings.function == "constrained"
        self._logs = {name: math.log(settings.multiplier) for name in names if learns and name in settings.thresholds}

    @property
    def limits(self) -> Limits:
        """As they are now."""
        plain = no_limits(len(self._names), self._settings)
        for i, name in enumerate(self._names):
            plain.caps[i] = self._settings.caps.get(name, math.inf)
            plain.thresholds[i] = self._settings.thresholds.get(name, self._settings.threshold)
            plain.multipliers[i] = math.exp(self._logs[name]) if name in self._logs else 0.0
        return plain

    @property
    def multipliers(self) -> dict[str, float]:
        """The multiplier of each constrained principle."""
        return {name: math.exp(log) for name, log in self._logs.items()}

    def learn(self, standardised: Tensor) -> None:
        """One step of the multipliers on a phase's scores, [batch, principle], in the order of the names."""
        for name, log in self._logs.items():
            mean = float(standardised[:, self._names.index(name)].mean())
            step = self._settings.multiplier_rate * math.exp(log) * (self._settings.thresholds[name] - mean)
            self._logs[name] = min(max(log + step, math.log(LEAST)), math.log(MOST))

    def use_learnt(self, stage: Path) -> bool:
        """Take the multipliers that a ppo stage ended with, from the summary.json in its folder; whether all were
        there.

        A summary of an earlier version has those of the last phase, among its last metrics.
        """
        if not self._logs:
            return True
        if not (stage / "summary.json").is_file():
            return False
        summary = read_json(stage / "summary.json")
        learnt = summary.get("multipliers")
        if learnt is None:
            last = summary.get("last", {})
            tags = {name: f"constraint/{name}/multiplier" for name in self._logs}
            learnt = {name: last[tag] for name, tag in tags.items() if tag in last}
        self._logs |= {name: math.log(learnt[name]) for name in self._logs if name in learnt}
        return all(name in learnt for name in self._logs)

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps: the logarithm of each multiplier."""
        return dict(self._logs)

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the multipliers that the state names; the others keep their values."""
        self._logs |= {name: float(state[name]) for name in self._logs if name in state}
