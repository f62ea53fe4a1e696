"""One policy for every trade-off: each phase draws the shares of the principles anew, and answers, is rewarded and
learns by them (`ppo.conditioned`; conditioned language policy, arXiv 2407.15762).

The shares come from a symmetric Dirichlet distribution over the principles that have a weight; a principle whose weight
is negative keeps its sign. Those of a phase follow from its number and the seed, so that a resumed run draws the same.
Between phases, for samples and whatever is saved, the policy is that of the recipe's own weights.

Left out: shares drawn for each prompt (CLP draws them for each batch too), scalarizations that only select by weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from training.errors import BadSettings
from training.models.conditioned_adapter import ConditionedAdapter, ConditionedValueHead
from training.models.language_model import Critic
from training.reward.rewards import PrincipleRewards


class Conditioning:
    """The shares of a conditioned policy, phase by phase. Of a policy that is not conditioned it changes nothing.

    Args:
        adapter, critic: of the policy; None where it is not conditioned.
        rewards_of: whose weights are those of the phase while it lasts.
        concentration: of the Dirichlet distribution; 1 draws evenly, less draws closer to the corners.
    """

    def __init__(self, adapter: ConditionedAdapter | None, critic: Critic, rewards_of: PrincipleRewards,
                 concentration: float, seed: int) -> None:
        self._adapter, self._critic, self._rewards_of = adapter, critic, rewards_of
        self._concentration, self._seed = concentration, seed
        self._given = rewards_of.weights
        self._places = [rewards_of.names.index(name) for name in adapter.names] if adapter is not None else []
        self._apply_recipe()

    def begin_phase(self, step: int) -> None:
        """Draw the shares of phase `step` (from 0) and use them in policy, critic and reward."""
        if self._adapter is None:
            return
        shares = drawn_shares(len(self._adapter.names), self._concentration, self._seed, step)
        weights = torch.zeros_like(self._given)
        weights[self._places] = self._given[self._places].sign() * shares
        self._use(self._adapter, shares, weights)

    def end_phase(self) -> dict[str, float]:
        """Return to the recipe's weights; the metrics `conditioned/NAME`, the shares that the phase had."""
        if self._adapter is None:
            return {}
        shares = self._adapter.shares.tolist()
        self._apply_recipe()
        return {f"conditioned/{name}": share for name, share in zip(self._adapter.names, shares, strict=True)}

    def _apply_recipe(self) -> None:
        if self._adapter is not None:
            own = self._given[self._places].abs()
            self._use(self._adapter, own / own.sum(), self._given)

    def _use(self, adapter: ConditionedAdapter, shares: Tensor, weights: Tensor) -> None:
        adapter.use(shares)
        if isinstance(self._critic, ConditionedValueHead):
            self._critic.use(shares)
        self._rewards_of.weights = weights


def drawn_shares(corners: int, concentration: float, seed: int, step: int) -> Tensor:
    """Shares of one phase, [corners], from a symmetric Dirichlet distribution.

    >>> drawn_shares(3, 1.0, seed=0, step=4).sum().item()
    1.0
    """
    generator = np.random.default_rng([seed, step])
    return torch.from_numpy(generator.dirichlet(np.full(corners, concentration))).float()


def corner_names(names: Sequence[str], weights: Mapping[str, float]) -> list[str]:
    """The principles that get a corner: those with a weight.

    Raises:
        BadSettings: there are fewer than two.
    """
    weighted = [name for name in names if weights[name] != 0]
    if len(weighted) < 2:
        raise BadSettings(f"'ppo.conditioned' trades principles off, and {len(weighted)} of them has a weight.",
                          "Give two principles or more a weight, or turn 'ppo.conditioned' off.")
    return weighted
