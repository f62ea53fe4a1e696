"""Best of n: the base answers each prompt n times and the reward picks one. What PPO must beat to be worth its cost.

It needs no training and its distance from the base is known beforehand: a KL of at most log n - (n - 1) / n nats a
response (Stiennon et al., arXiv 2009.01325; that it is a bound: arXiv 2401.01879). So a policy can be compared with it
at equal KL. What it costs is n answers and n scores for every question, for ever. Left out: soft best-of-n, and
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
"""Responses drawn and scored at a time."""


class Best(NamedTuple):
    """The chosen responses, one a prompt, and the mean reward of the chosen and of all that were drawn."""

    responses: list[str]
    reward: float
    reward_of_all: float


def kl_bound(n: int) -> float:
    """How far best-of-n can be from the base, in nats a response: log n - (n - 1) / n."""
    return math.log(n) - (n - 1) / n


def draw(language: LanguageModel, prompts: Sequence[Dialogue], n: int, sampling: rollouts.Sampling,
         rewards_of: PrincipleRewards, seed: int, on_batch: Callable[[int], None]) -> Best:
    """Draw n responses of the base to each prompt and keep the one with the highest reward, the first of equals.

    Args:
        language: the base, or a policy: then its adapter is off.
        n: at least 1.
        seed: each batch has a generator of its own, made from it.
        on_batch: told how many prompts are done after each batch; it may raise StopRequested.
    """
    chosen: list[str] = []
    best = every = 0.0
    at_a_time = max(1, BATCH // n)
    for start in range(0, len(prompts), at_a_time):
        some = prompts[start : start + at_a_time]
        repeated = [prompt for prompt in some for _ in range(n)]
        ids, mask = rollouts.pad_prompts(language, repeated, sampling.max_new_tokens)
        # Not the numbers that the policy and its base draw with: the first of n would be the base's own answer.
        generator = torch.Generator().manual_seed((seed + 1) * 1_000_003 - 1 - start)
        with language_model.reference(language):
            responses = rollouts.texts(language, rollouts.generate(language, ids, mask, sampling, generator))
        totals = rewards_of(repeated, responses, BATCH).total.view(len(some), n)
        chosen += [responses[row * n + column] for row, column in enumerate(totals.argmax(dim=1).tolist())]
        best += float(totals.max(dim=1).values.sum())
        every += float(totals.mean(dim=1).sum())
        on_batch(len(chosen))
    return Best(chosen, best / len(prompts), every / len(prompts))
