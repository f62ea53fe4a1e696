"""Log-probabilities and entropies of tokens from logits, with gradients, in little memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training.models.fast_layers import has_kernels

PIECE = 1 << 20
"""Logits processed at a time: on a CPU, at four bytes each, they stay in its cache."""

PIECE_ON_GPU = 1 << 27
"""There each piece costs a dozen launches and half a gigabyte is little: six rows of a large vocabulary at a time would
be 700 pieces in a batch."""


def token_statistics(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """log p(token) and the entropy of p = softmax(logits / temperature), a piece of rows at a time.

    The logits are the largest tensor of a step, so they are overwritten with p where they are fp32: the only other
    tensor of that size is the gradient. Do not use them afterwards.

    Args:
        logits: [..., vocabulary].
        tokens: [...] of int64.

    Returns:
        (log-probabilities, entropies), both [...] in fp32. Gradients flow through the first alone.
    """
    statistics: tuple[Tensor, Tensor]
    if has_kernels(logits.device):
        from training.models.gpu_kernels import TokenStatistics

        flat = logits.flatten(0, -2), tokens.flatten()
        logprobs, entropies = TokenStatistics.apply(*flat, temperature)
        return logprobs.view_as(tokens), entropies.view_as(tokens)
    statistics = _TokenStatistics.apply(logits, tokens, temperature)
    return statistics


class _TokenStatistics(torch.autograd.Function):
    """With z = logits / T - max: p = exp(z) / s, log p(token) = z(token) - log s, entropy = log s - sum p z."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        flat, chosen = logits.data.float().flatten(0, -2), tokens.reshape(-1, 1)
        logprobs, entropies = (torch.empty(len(flat), device=logits.device) for _ in range(2))
        rows = max(1, (PIECE if flat.device.type == "cpu" else PIECE_ON_GPU) // flat.shape[-1])
        for start in range(0, len(flat), rows):
            part = slice(start, start + rows)
            z = flat[part].div_(temperature)
            z.sub_(z.amax(dim=-1, keepdim=True))
            picked = z.gather(-1, chosen[part]).squeeze(-1)
            p = z.exp()
            total = p.sum(dim=-1, keepdim=True)
            p.div_(total)
            log_total = total.squeeze(-1).log()
            logprobs[part] = picked - log_total
            entropies[part] = log_total - p.mul(z).sum(dim=-1)
            z.copy_(p)
        ctx.save_for_backward(flat.data, chosen)
        ctx.temperature, ctx.like = temperature, (logits.shape, logits.dtype)
        entropies = entropies.view_as(tokens)
        ctx.mark_non_differentiable(entropies)
        return logprobs.view_as(tokens), entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        p, chosen = ctx.saved_tensors
        scaled = gradients[0].reshape(-1, 1) / ctx.temperature
        gradient = p * -scaled
        gradient.scatter_add_(-1, chosen, scaled)
        shape, dtype = ctx.like
        return gradient.view(shape).to(dtype), None, None
