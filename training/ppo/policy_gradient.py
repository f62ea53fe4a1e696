"""The mathematics of PPO on tokens: pure functions on tensors, no model, no settings object.

Sources: PPO (Schulman et al., arXiv 1707.06347), generalised advantage estimation (arXiv 1506.02438), the adaptive KL
controller of Ziegler et al. (arXiv 1909.08593, section 2.2), KL estimators k1 and k3 (joschu.net/blog/kl-approx.html).

`mask` is 1.0 where a token was generated and counts, 0.0 on padding; shapes are [batch, response] unless stated.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NEGLIGIBLE_KL = 1e-5
"""Nats per token. fp32 stays far below it, so that a run in fp32 is the same with the correction and without; a
log-probability that is off by 0.005 is at it, and bf16 beyond."""

LARGEST_WEIGHT = 2.0
"""At which importance weights are truncated."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values under the mask, a scalar. An empty mask gives 0."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def masked_var(values: Tensor, mask: Tensor) -> Tensor:
    """Population variance of the values under the mask, a scalar."""
    return masked_mean((values - masked_mean(values, mask)).square(), mask)


def masked_whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Values shifted and scaled to mean 0 and variance 1 under the mask; 0 outside. Same shape."""
    centred = values - masked_mean(values, mask)
    return centred * torch.rsqrt(masked_var(values, mask) + 1e-8) * mask


def masked_scale(values: Tensor, mask: Tensor) -> Tensor:
    """Values scaled to deviation 1 under the mask, their mean kept: whitened rewards (arXiv 1909.08593). Same shape."""
    mean = masked_mean(values, mask)
    return ((values - mean) * torch.rsqrt(masked_var(values, mask) + 1e-8) + mean) * mask


def token_rewards(rewards: Tensor, log_ratio: Tensor, mask: Tensor, kl_coefficient: float) -> Tensor:
    """The reward of every token: -coefficient * (log pi - log ref) on each, the response's reward on its last.

    Args:
        rewards: one per response, [batch].
        log_ratio: log pi(token) - log ref(token), [batch, response].
        mask: [batch, response]; each row's ones come first, and there is at least one.

    Returns:
        [batch, response], 0 on padding.
    """
    per_token = -kl_coefficient * log_ratio * mask
    last = mask.sum(dim=1).long() - 1
    return per_token.scatter_add(1, last.unsqueeze(1), rewards.unsqueeze(1).to(per_token.dtype))


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv 1506.02438, equation 16), backwards over the response.

    delta_t = r_t + gamma V_{t+1} - V_t;  A_t = delta_t + gamma lam A_{t+1};  return_t = A_t + V_t.

    Args:
        rewards: of each token, [batch, response].
        values: of the state before each token, [batch, response].
        mask: [batch, response]; after the last token the value is 0.

    Returns:
        (advantages, returns), both [batch, response], 0 on padding.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    following_value = torch.zeros_like(values[:, 0])
    following_advantage = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * following_value - values[:, t]
        following_advantage = (delta + gamma * lam * following_advantage) * mask[:, t]
        following_value = values[:, t]
        advantages[:, t] = following_advantage
    return advantages, advantages + values


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """log pi - log ref of tokens drawn from pi: unbiased for KL(pi || ref), of either sign. Same shape."""
    return logprobs - reference


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """(r - 1) - log r with r = ref / pi: unbiased for KL(pi || ref) and never negative. Same shape."""
    log_ratio = reference - logprobs
    return torch.expm1(log_ratio) - log_ratio


def sampling_weights(sampled: Tensor, logprobs: Tensor, mask: Tensor) -> tuple[float, Tensor | None]:
    """How far the model that sampled is from the model that is read, and what corrects for it.

    The tokens were drawn from q, by a model that computes a little differently (merged weights rounded to bf16, a
    captured graph), and the loss is an expectation under pi, the model that is read. Importance weights pi / q make it
    that again; truncated (as in IMPALA, arXiv 1802.01561), for a rare token must not decide a step alone.

    Args:
        sampled, logprobs: log q and log pi of the tokens, [batch, response].

    Returns:
        (mean of the KL estimate k3 from q to pi per token, weights [batch, response]); None for weights of 1, which is
        where the KL is negligible.
    """
    kl = float(masked_mean(kl_k3(sampled, logprobs), mask))
    if abs(kl) <= NEGLIGIBLE_KL:
        return kl, None
    return kl, torch.exp(logprobs - sampled).clamp(max=LARGEST_WEIGHT)


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate (arXiv 1707.06347, equation 7), negated so that it is minimised.

    Returns:
        (sum over tokens of max(-A r, -A clip(r, 1 - clip, 1 + clip)), tokens where the clip decided), scalars. Sums,
        not means: the caller divides by the tokens of the whole minibatch, however it is split into micro-batches.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return (torch.maximum(plain, clipped) * mask).sum(), ((clipped > plain) * mask).sum()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Half the squared error of the value, or of the value kept near the old one if that is worse; sum over tokens."""
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * (torch.maximum((values - returns).square(), (near - returns).square()) * mask).sum()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) under the mask: 1 is a perfect critic, 0 no better than a constant."""
    spread = masked_var(returns, mask)
    return float(1 - masked_var(returns - values, mask) / spread) if spread > 0 else 0.0


def next_kl_coefficient(coefficient: float, kl: float, target: float, samples: int, horizon: int) -> float:
    """The adaptive controller (arXiv 1909.08593): grow when the KL is above its target, shrink when below.

    The error kl / target - 1 is clipped to +-0.2, and `horizon` samples at full error change the coefficient by 20 %.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * samples / horizon)


def schedule(shape: str, step: int, steps: int, warmup: int) -> float:
    """The share of the learning rate in phase `step` (from 0) of `steps`: a linear warm-up, then the shape's way down.

    "constant" stays at 1; "linear" and "cosine" go from 1 at the end of the warm-up towards 0 after the last phase.
    """
    rising = min(1.0, (step + 1) / max(1, warmup))
    gone = max(0, step - warmup) / max(1, steps - warmup)
    falling = {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}[shape]
    return rising * falling
