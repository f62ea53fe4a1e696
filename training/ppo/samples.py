"""What a policy answers to a few fixed prompts, reported while it is trained."""

from __future__ import annotations

import torch

from training.dialogue import Dialogue, shown_prompt
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.reward.rewards import PrincipleRewards
from training.run.reporting import Reporter


def report_samples(
    language: LanguageModel, step: int, prompts: list[Dialogue], sampling: rollouts.Sampling,
    rewards_of: PrincipleRewards, seed: int, reporter: Reporter,
) -> None:  # fmt: skip
    """Answer the fixed prompts, with a new generator each time, so that sampling does not change the training."""
    if not prompts:
        return
    generator = torch.Generator().manual_seed(seed)
    ids, mask = rollouts.pad_prompts(language, prompts, sampling.max_new_tokens)
    with language_model.merged(language):
        rollout = rollouts.generate(language, ids, mask, sampling, generator)
    responses = rollouts.texts(language, rollout)
    rewards = rewards_of(prompts, responses, len(prompts))
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        scores = dict(zip(rewards_of.names, rewards.standardised[i].tolist(), strict=True))
        reporter.sample(step, i, shown_prompt(prompt), response, float(rewards.total[i]), scores)
