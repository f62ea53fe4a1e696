"""From the scores of the preference models to a reward: standardised, weighted by name, missing weights named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from training.config import Scalarization
from training.dialogue import Dialogue
from training.errors import BadSettings
from training.reward.rewards import PrincipleRewards


class FixedScores:
    """Scores every response 3 on the first principle and 1 on the second."""

    names = ("factuality", "toxicity")
    mean, std = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.5])

    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        return torch.tensor([[3.0, 1.0]] * len(responses))


PROMPTS: list[Dialogue] = [[{"role": "user", "content": "Who keeps Avela?"}]]


def test_weights_are_taken_by_name_whatever_their_order() -> None:
    rewards_of = PrincipleRewards(FixedScores(), {"toxicity": 0.25, "factuality": 0.75}, Scalarization())
    rewards = rewards_of(PROMPTS, ["Ada."], 1)
    assert rewards.standardised.tolist() == [[1.0, 2.0]]
    assert rewards.weighted.tolist() == [[0.75, 0.5]] and rewards.total.tolist() == [1.25]
    assert rewards_of.weights_by_name == {"factuality": 0.75, "toxicity": 0.25}


def test_a_principle_without_a_weight_is_named() -> None:
    with pytest.raises(BadSettings, match="No weight is given for toxicity"):
        PrincipleRewards(FixedScores(), {"factuality": 1.0}, Scalarization())
