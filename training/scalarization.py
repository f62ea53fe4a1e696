"""How the rewards of several principles become one: the seven functions of MORLAIF (arXiv 2406.07295, section 3).

Every function maps standardised scores [batch, principle] and weight shares [principle] to rewards [batch], row by row:
a response's reward never depends on its neighbours in the batch.

What weights do. A weight multiplied into a score before a minimum, a median or a quantile would change which principle
is the worst one, so it is not. In `linear` and `bernoulli_nash` weights are shares. Everywhere else they only choose:
a principle with a weight above zero takes part, all parts alike; zero or below leaves it out.

What a negative weight does. `linear` subtracts the score. `bernoulli_nash` takes the opposite's probability,
sigmoid(-z). The others leave it out: turned round it would be a veto of its own, which nobody means by a small
negative weight.

Left out of the paper's code: its products of raw logits (their sign flips) and everything that looks across the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.config import Function, Scalarization
from training.errors import BadSettings


def linear(scores: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i z_i. [batch, principle], [principle] -> [batch]."""
    return scores @ weights


def worst_case(scores: Tensor, weights: Tensor) -> Tensor:
    """min_i z_i over principles with a positive weight. [batch, principle], [principle] -> [batch]."""
    return _chosen(scores, weights).amin(dim=1)


def soft_max_min(scores: Tensor, weights: Tensor, temperature: float = 1.0) -> Tensor:
    """sum_i z_i softmax(-z / T)_i: a minimum with soft edges. [batch, principle], [principle] -> [batch].

    T towards 0 gives `worst_case`, T towards infinity the mean. As the paper defines it, it is not monotone: a score
    more than T above the reward pulls it down a little when it rises further, for its share of the sum melts away.
    """
    chosen = _chosen(scores, weights)
    return (chosen * torch.softmax(-chosen / temperature, dim=1)).sum(dim=1)


def uncertainty_weighted(scores: Tensor, weights: Tensor, penalty: float = 0.5) -> Tensor:
    """mean_i z_i - penalty * Var_i z_i across principles: disagreement costs. [batch, principle] -> [batch].

    The variance is the population's, so one principle alone has none. Not monotone: an outlier above costs as well.
    """
    chosen = _chosen(scores, weights)
    return chosen.mean(dim=1) - penalty * chosen.var(dim=1, correction=0)


def lower_quantile(scores: Tensor, weights: Tensor, quantile: float = 1 / 3) -> Tensor:
    """Mean of the lowest share of the principles, rounded up to whole principles. [batch, principle] -> [batch]."""
    chosen = _chosen(scores, weights)
    return chosen.sort(dim=1).values[:, : _lowest_count(chosen.shape[1], quantile)].mean(dim=1)


def max_median(scores: Tensor, weights: Tensor) -> Tensor:
    """The true median: the mean of the two middle ones for an even number. [batch, principle] -> [batch]."""
    ordered = _chosen(scores, weights).sort(dim=1).values
    count = ordered.shape[1]
    return ordered[:, (count - 1) // 2 : count // 2 + 1].mean(dim=1)


def bernoulli_nash(scores: Tensor, weights: Tensor) -> Tensor:
    """exp(sum_i |w_i| log sigmoid(sign(w_i) z_i)), in (0, 1): a weighted product of probabilities. -> [batch]."""
    return _log_probabilities(scores, weights).sum(dim=1).exp()


FUNCTIONS: dict[Function, Callable[[Tensor, Tensor, Scalarization], Tensor]] = {
    "linear": lambda z, w, _: linear(z, w),
    "worst_case": lambda z, w, _: worst_case(z, w),
    "soft_max_min": lambda z, w, settings: soft_max_min(z, w, settings.temperature),
    "uncertainty_weighted": lambda z, w, settings: uncertainty_weighted(z, w, settings.penalty),
    "lower_quantile": lambda z, w, settings: lower_quantile(z, w, settings.quantile),
    "max_median": lambda z, w, _: max_median(z, w),
    "bernoulli_nash": lambda z, w, _: bernoulli_nash(z, w),
}


def scalarize(scores: Tensor, weights: Tensor, settings: Scalarization) -> Tensor:
    """The reward of each row by the function that `settings` names.

    Args:
        scores: standardised scores z, [batch, principle].
        weights: any weights that are not all zero, [principle]; they are divided by the sum of their absolute values.
        settings: function and its parameters.

    Returns:
        Rewards, [batch].

    Raises:
        BadSettings: no principle has a weight that this function can use.
    """
    return FUNCTIONS[settings.function](scores, _shares(weights, settings.function), settings)


def contributions(scores: Tensor, weights: Tensor, settings: Scalarization) -> Tensor:
    """How much of each row's reward comes from each principle: [batch, principle], each row sums to its reward.

    linear: w_i z_i. worst_case and max_median: all of it on the principle that is the minimum or the median (shared by
    the middle two). lower_quantile: z_i / n for the n lowest. soft_max_min: z_i times its softmax.
    uncertainty_weighted: (z_i - penalty (z_i - mean)^2) / n. bernoulli_nash is a product and has no true parts: each
    principle starts with its share |w_i| of the perfect reward 1, and what is missing, 1 - reward, is taken away in
    proportion to the log-losses.
    """
    shares = _shares(weights, settings.function)
    if settings.function == "linear":
        return scores * shares
    if settings.function == "bernoulli_nash":
        logs = _log_probabilities(scores, shares)
        total = logs.sum(dim=1, keepdim=True)
        return shares.abs() + total.exp().sub(1) * logs / total.clamp(max=-torch.finfo(logs.dtype).tiny)
    chosen = _chosen(scores, shares)
    parts = chosen * _row_weights(chosen, settings)
    if settings.function == "uncertainty_weighted":
        parts = parts - settings.penalty * (chosen - chosen.mean(dim=1, keepdim=True)).square() / chosen.shape[1]
    found = torch.zeros_like(scores)
    found[:, shares > 0] = parts
    return found


def active(scores: Tensor, weights: Tensor, settings: Scalarization) -> Tensor:
    """The index of the principle that drives each row, [batch] of int64.

    worst_case, soft_max_min and lower_quantile: the lowest. max_median: the (lower) middle one. bernoulli_nash: the one
    that costs most. linear and uncertainty_weighted: the one whose contribution is largest either way.
    """
    if settings.function in {"linear", "uncertainty_weighted"}:
        return contributions(scores, weights, settings).abs().argmax(dim=1)
    shares = _shares(weights, settings.function)
    if settings.function == "bernoulli_nash":
        return _log_probabilities(scores, shares).argmin(dim=1)
    chosen = _chosen(scores, shares)
    position = (chosen.shape[1] - 1) // 2 if settings.function == "max_median" else 0
    return torch.nonzero(shares > 0).flatten()[chosen.argsort(dim=1, stable=True)[:, position]]


def _row_weights(chosen: Tensor, settings: Scalarization) -> Tensor:
    """What each taking-part score is multiplied with to make the reward of its row, [batch, chosen]."""
    count = chosen.shape[1]
    if settings.function == "soft_max_min":
        return torch.softmax(-chosen / settings.temperature, dim=1)
    if settings.function == "uncertainty_weighted":
        return torch.full_like(chosen, 1 / count)
    order = chosen.argsort(dim=1, stable=True)
    first, last = {
        "worst_case": (0, 1),
        "lower_quantile": (0, _lowest_count(count, settings.quantile)),
        "max_median": ((count - 1) // 2, count // 2 + 1),
    }[settings.function]
    return torch.zeros_like(chosen).scatter(1, order[:, first:last], 1 / (last - first))


def _shares(weights: Tensor, function: Function) -> Tensor:
    usable = weights != 0 if function in {"linear", "bernoulli_nash"} else weights > 0
    if not bool(usable.any()):
        raise BadSettings(
            f"No principle has a weight that the scalarization '{function}' can use.",
            "Give at least one principle a weight above zero, or choose 'linear'.",
        )
    return weights / weights.abs().sum()


def _chosen(scores: Tensor, weights: Tensor) -> Tensor:
    return scores[:, weights > 0]


def _log_probabilities(scores: Tensor, weights: Tensor) -> Tensor:
    return weights.abs() * logsigmoid(scores * weights.sign())


def _lowest_count(principles: int, quantile: float) -> int:
    # A third of three is 1.0000000000000002 in floating point for some counts: do not round that up to two.
    return max(1, math.ceil(principles * quantile - 1e-9))
