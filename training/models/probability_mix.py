"""Answers of several policies on one base that decide each token together: MOD (arXiv 2406.18853).

The next token is drawn from the weighted geometric mean of what the policies would say,

    p(y | x) = prod_i p_i(y | x)^w_i / Z,

which is the best policy for the weighted sum of their rewards where each was trained with a KL penalty to one base and
the weights sum to 1. Every policy reads every token, in one batch on one copy of the base (`mixed_lora`), so an answer
costs as much as one of each. Mixing their weights instead (`policy_mix`) costs one pass, and is another policy. Left
out: graphs of a GPU, and policies that share no more than a tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.dialogue import Dialogue
from training.errors import BadSettings
from training.models import rollouts
from training.models.decoding import Decoder
from training.models.mixed_lora import MixedLora, Policy, can_mix
from training.models.rollouts import Rollout, Sampling


def mixed_logprobs(logprobs: Tensor, weights: Sequence[float]) -> Tensor:
    """log p of the weighted geometric mean, renormalised: [policy, ..., vocabulary] -> [..., vocabulary].

    A policy with weight 0 has no say, not even about tokens that it finds impossible.

    Raises:
        BadSettings: a weight is not finite, all are zero, or there is not one for each policy.
    """
    check_weights(weights, len(logprobs))
    taking_part = [index for index, weight in enumerate(weights) if weight != 0]
    shares = torch.tensor([weights[index] for index in taking_part], dtype=logprobs.dtype, device=logprobs.device)
    mixed: Tensor = torch.tensordot(shares, logprobs[taking_part], dims=1)
    return torch.log_softmax(mixed, dim=-1)


def check_weights(weights: Sequence[float], policies: int) -> None:
    """Raises BadSettings unless they are finite, one for each policy, and not all zero."""
    if len(weights) != policies:
        raise BadSettings(f"There are {len(weights)} weights for {policies} policies.", "Give each policy one.")
    for weight in weights:
        if not math.isfinite(weight):
            raise BadSettings(f"A policy's weight is {weight}.", "Give a finite number, such as 0.3.")
    if not any(weights):
        raise BadSettings("Every policy has the weight 0, so that no token is likelier than another.",
                          "Give one of them another weight; the base alone is the policy None.")


def generate_mixed(mixed: MixedLora, policies: Sequence[Policy], weights: Sequence[float],
                   prompts: Sequence[Dialogue], sampling: Sampling, generator: torch.Generator) -> Rollout:
    """One response per prompt, each of its tokens drawn from the mix; `rollouts.texts` makes text of them.

    Args:
        policies: folders of adapters on the base of `mixed`; None is the base alone.
        sampling: temperature and top_p shape the mix, not each policy.

    Raises:
        BadSettings: the weights cannot be used, or the base is a mixture of experts.
        ModelUnavailable: an adapter cannot be read, or belongs to another base.
    """
    check_weights(weights, len(policies))
    if not can_mix(mixed.language.model):
        raise BadSettings(f"{mixed.language.name!r} is a mixture of experts: its rows share one adapter.",
                          "Mix the policies' weights instead (python -m training mix).")
    chosen = [(policy, weight) for policy, weight in zip(policies, weights, strict=True) if weight != 0]
    names = [policy for policy, _ in chosen]
    for policy in names:
        if policy is not None:
            mixed.load(policy, in_use=names)
    mixed.gather(names)
    language = mixed.language
    ids, mask = rollouts.pad_prompts(language, prompts, sampling.max_new_tokens)
    decoder = _MixedDecoder(mixed, names, [weight for _, weight in chosen], ids.shape[1] + sampling.max_new_tokens)
    try:
        return rollouts.generate(language, ids, mask, sampling, generator, decoder)
    finally:
        mixed.mask = None


class _MixedDecoder(Decoder):
    """Every policy has a copy of every row: first all rows of the first policy, then those of the second, ..."""

    def __init__(self, mixed: MixedLora, policies: Sequence[Policy], weights: Sequence[float], capacity: int) -> None:
        super().__init__(mixed.language.model, capacity)
        self._mixed, self._policies, self._weights = mixed, policies, weights
        self._rows = 0

    def next_logits(self, tokens: Tensor, attention: Tensor, positions: Tensor) -> Tensor:
        copies, self._rows = len(self._policies), len(tokens)
        self._mixed.use([policy for policy in self._policies for _ in range(self._rows)])
        logits = super().next_logits(*(each.repeat(copies, 1) for each in (tokens, attention, positions)))
        logprobs = torch.log_softmax(logits.float(), dim=-1).view(copies, self._rows, -1)
        return mixed_logprobs(logprobs, self._weights)

    def drop_rows(self, keep: Tensor) -> None:
        super().drop_rows(torch.cat([keep + copy * self._rows for copy in range(len(self._policies))]))
