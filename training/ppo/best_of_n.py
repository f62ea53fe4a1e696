"""Best of n: the base answers each prompt n times and the reward picks one. What PPO must beat to be worth its cost.

It needs no training and its distance from the base is known beforehand: a KL of at most log n - (n - 1) / n nats a
response (Stiennon et al., arXiv 2009.01325; that it is a bound: arXiv 2401.01879). So a policy can be compared with it
at equal KL. It costs n answers and n scores per question at every use. Left out: soft best-of-n, and
choosing by the judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from training.dialogue import Dialogue
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.reward.rewards import PrincipleRewards

BATCH = 64
"""Responses sampled and scored at a time."""


class Best(NamedTuple):
    """The chosen responses, one per prompt, and the mean reward of the chosen and of all that were drawn."""

    responses: list[str]
    reward: float
    reward_of_all: float


def kl_bound(n: int) -> float:
    """How far best-of-n can be from the base, in nats per response: log n - (n - 1) / n."""
    return math.log(n) - (n - 1) / n


def draw(language: LanguageModel, prompts: Sequence[Dialogue], n: int, sampling: rollouts.Sampling,
         rewards_of: PrincipleRewards, seed: int, on_batch: Callable[[int], None]) -> Best:
    """Draw n responses of the base to each prompt and keep the one with the highest reward, the first of equals.

    Args:
        language: the base, or a policy: then its adapter is off.
        n: at least 1.
        seed: each batch has its own generator, seeded with it.
        on_batch: called with the number of prompts done after each batch; may raise StopRequested.
    """
    chosen: list[str] = []
    best_sum = reward_sum = 0.0
    at_a_time = max(1, BATCH // n)
    for start in range(0, len(prompts), at_a_time):
        batch = prompts[start : start + at_a_time]
        repeated = [prompt for prompt in batch for _ in range(n)]
        ids, mask = rollouts.pad_prompts(language, repeated, sampling.max_new_tokens)
        # Another seed than that of the policy and its base: else the first of n would be the base's own answer.
        generator = torch.Generator().manual_seed((seed + 1) * 1_000_003 - 1 - start)
        with language_model.reference(language):
            responses = rollouts.texts(language, rollouts.generate(language, ids, mask, sampling, generator))
        totals = rewards_of(repeated, responses, BATCH).total.view(len(batch), n)
        chosen += [responses[row * n + column] for row, column in enumerate(totals.argmax(dim=1).tolist())]
        best_sum += float(totals.max(dim=1).values.sum())
        reward_sum += float(totals.mean(dim=1).sum())
        on_batch(len(chosen))
    return Best(chosen, best_sum / len(prompts), reward_sum / len(prompts))
