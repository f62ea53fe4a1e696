"""From responses to rewards: each principle is scored by its preference model or its measure, and the scalarization
makes one number of the scores.

Everything in between is kept and reported: the reward can be decomposed into its principles, and the parts add up. Left
out: rewards from the judge itself; a running normalisation of the reward (advantages are whitened instead).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from training.config import Scalarization
from training.dialogue import Dialogue
from training.errors import BadSettings
from training.reward.constraints import Constraints
from training.reward.group_normalisation import normalised_in_groups
from training.reward.scalarization import active, capped, contributions, scalarize


class Rewards(NamedTuple):
    """Rewards of a batch of responses, on the CPU in fp32.

    Attributes:
        raw: what the preference models said or the programs measured, [batch, principle].
        standardised: z = (raw - mu) / sd with each model's frozen mu and sd, [batch, principle].
        weighted: contributions, [batch, principle]; their sum over principles is `total`.
        total: the scalarized reward, [batch].
        active: the index of the principle that drives each row, [batch].
    """

    raw: Tensor
    standardised: Tensor
    weighted: Tensor
    total: Tensor
    active: Tensor


class Scorer(Protocol):
    """What `PreferenceModels` offers: raw scores [batch, principle], and mu and sd, each [principle]. An sd is negative
    where lower is better (`measured.MeasuredScores`)."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def mean(self) -> Tensor: ...
    @property
    def std(self) -> Tensor: ...
    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = ...) -> Tensor: ...


class PrincipleRewards:
    """Scores responses and scalarizes the scores; weights are taken by name, whatever their order.

    `constraints` holds the caps and thresholds, and multipliers that learn where a run calls `constraints.learn`.
    """

    def __init__(self, scorer: Scorer, weights: Mapping[str, float], settings: Scalarization) -> None:
        missing = [name for name in scorer.names if name not in weights]
        if missing:
            raise BadSettings(f"No weight is given for {', '.join(missing)}.", "Give every principle a weight.")
        self._scorer = scorer
        self._settings = settings
        self.names = tuple(scorer.names)
        self.weights = torch.tensor([weights[name] for name in scorer.names])
        self.constraints = Constraints(self.names, settings)

    @property
    def weights_by_name(self) -> dict[str, float]:
        """Weight by principle, as given."""
        return dict(zip(self.names, self.weights.tolist(), strict=True))

    def __call__(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int) -> Rewards:
        """Rewards of one response per prompt, `batch_size` of them scored at a time."""
        raw = self._scorer.score_raw(prompts, responses, batch_size)
        standardised = (raw - self._scorer.mean) / self._scorer.std
        return self.of_scores(raw.float().cpu(), standardised.float().cpu())

    def of_scores(self, raw: Tensor, standardised: Tensor) -> Rewards:
        """Rewards of given scores, both [batch, principle]."""
        arguments = standardised, self.weights, self._settings, self.constraints.limits
        return Rewards(raw, standardised, contributions(*arguments), scalarize(*arguments), active(*arguments))

    def summed_in_groups(self, standardised: Tensor, group_size: int, clip: float) -> Tensor:
        """The weighted sum of the principles, each normalised in its group first, [batch, principle] -> [batch].

        Args:
            standardised: the answers to one prompt stand together, `group_size` of them.
            clip: a score further from 0 counts as this far; after the normalisation no score is large.
        """
        scores = capped(standardised, self.weights, self.constraints.limits.caps).clamp(-clip, clip)
        return scalarize(normalised_in_groups(scores, group_size), self.weights, self._settings)
