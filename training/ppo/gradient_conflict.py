"""Conflict between principles: do their rewards pull the policy the same way or against one another?

Each principle alone gives a gradient of the policy loss: its standardised scores, whitened over the batch, are the
advantage of every token of the response, and the policy is the one that wrote the answers, so that PPO's ratio is 1 and
its clip does nothing. The cosine of two such gradients is 1 where the principles ask for the same change, 0 where
they have nothing to do with one another, -1 where each step for one is a step back for the other. As a diagnostic of
multi-task learning: PCGrad (arXiv 2001.06782), section 2.

It changes nothing: the gradients are kept apart from the parameters' own, and nothing random is drawn. Left out: the
baseline of the critic, the KL penalty, and any surgery on the gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from training.config import Ppo
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.rollouts import Rollout
from training.ppo import policy_gradient as pg
from training.reward.rewards import Rewards

PROBE = 64
"""At most this many responses are used."""


def of_phase(settings: Ppo, step: int, language: LanguageModel, rollout: Rollout, names: Sequence[str],
             rewards: Rewards) -> dict[str, float]:
    """The metrics `conflict/<a>~<b>` of a phase in which they are due, before its update; else none.

    Args:
        step: the number of the phase, from 1.
        rewards: of the rollout's responses, one column per name.
    """
    if not settings.conflict_every or step % settings.conflict_every or len(names) < 2:
        return {}
    rows = torch.arange(min(PROBE, len(rollout.mask)), device=rollout.mask.device)
    probe = rollouts.select(rollout, rows)
    gradients = principle_gradients(language, probe, rewards.standardised[: len(rows)], settings.temperature,
                                    settings.micro_batch)
    return cosines(names, gradients)


def principle_gradients(language: LanguageModel, rollout: Rollout, scores: Tensor, temperature: float,
                        micro_batch: int) -> Tensor:
    """The policy gradient of each principle, [principle, parameters]; one forward pass, one backward pass per
    principle.

    Args:
        rollout: responses of the policy as it is now.
        scores: [batch, principle].
        temperature: that the responses were drawn at.
    """
    parameters = language_model.trainable_parameters(language)
    columns = scores.T.to(language.device)
    whitened = torch.stack([pg.masked_whiten(column, torch.ones_like(column)) for column in columns])
    sums = torch.zeros(len(whitened), sum(parameter.numel() for parameter in parameters), device=language.device)
    with torch.enable_grad():
        for rows in torch.arange(len(rollout.mask), device=language.device).split(micro_batch):
            part = rollouts.select(rollout, rows)
            logprobs = rollouts.forward_responses(language, part, temperature).logprobs
            for index, advantages in enumerate(whitened[:, rows]):
                loss, _ = pg.policy_loss(logprobs, logprobs.detach(), advantages.unsqueeze(1), part.mask, clip=1.0)
                # Of a model that also sees, no text reaches all weights: those have a gradient of zero.
                gradients = torch.autograd.grad(loss, parameters, retain_graph=index + 1 < len(whitened),
                                                materialize_grads=True)
                sums[index] += torch.cat([gradient.flatten() for gradient in gradients])
    return sums / rollout.mask.sum()


def cosines(names: Sequence[str], gradients: Tensor) -> dict[str, float]:
    """`conflict/<a>~<b>` of every pair of rows; 0 where a row is zero, as for a principle that scores all responses
    alike."""
    length = gradients.norm(dim=1, keepdim=True)
    directions = gradients / length.clamp(min=torch.finfo(gradients.dtype).tiny)
    matrix = (directions @ directions.T).clamp(-1, 1).tolist()
    return {f"conflict/{names[a]}~{names[b]}": matrix[a][b] for a, b in combinations(range(len(names)), 2)}
