"""How the rewards of several principles become one: the seven functions of MORLAIF (arXiv 2406.07295, section 3) and
four more: weighted Tchebycheff, power mean, lexicographic, and hard constraints with learnt multipliers.

Every function maps standardised scores [batch, principle] and weight shares [principle] to rewards [batch], row by row:
a response's reward never depends on its neighbours in the batch.

What weights do. A weight multiplied into a score before a minimum, a median or a quantile would change which principle
is the worst one, so it is not. In `linear`, `constrained`, `bernoulli_nash` and `power_mean` weights are shares; in
`tchebycheff` they scale the distances from the ideal, and in `lexicographic` they are the order of importance.
Everywhere else they only select: principles with a weight above zero take part equally, the others are left out. Only
ratios count.

What a negative weight does. `linear` and `constrained` subtract the score. `bernoulli_nash` and `power_mean` take the
opposite's probability, sigmoid(-z). The others leave it out: a negated score would be a veto, which nobody means by a
small negative weight.

A better score never makes a worse reward, except in two functions of the paper: `uncertainty_weighted`, where an
outlier above costs as well, and `soft_max_min`, see there. Before any function, scores are capped where a cap is set,
so that what a principle earns beyond it cannot pay for another (arXiv 2310.04373).

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
from training.reward.constraints import Limits, no_limits

NO_POWER = 1e-6
"""Powers closer to 0 than this are the geometric mean, which they tend to."""
SIGNED: frozenset[Function] = frozenset({"linear", "constrained", "bernoulli_nash", "power_mean"})
"""Functions that have a meaning for a negative weight."""


def linear(scores: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i z_i. [batch, principle], [principle] -> [batch]."""
    return scores @ weights


def worst_case(scores: Tensor, weights: Tensor) -> Tensor:
    """min_i z_i over principles with a positive weight. [batch, principle], [principle] -> [batch]."""
    return _positively_weighted(scores, weights).amin(dim=1)


def soft_max_min(scores: Tensor, weights: Tensor, temperature: float = 1.0) -> Tensor:
    """sum_i z_i softmax(-z / T)_i: a soft minimum. [batch, principle], [principle] -> [batch].

    T towards 0 gives `worst_case`, T towards infinity the mean. As the paper defines it, it is not monotone: a score
    more than T above the reward pulls it down a little when it rises further, because its share of the sum vanishes.
    """
    chosen = _positively_weighted(scores, weights)
    return (chosen * torch.softmax(-chosen / temperature, dim=1)).sum(dim=1)


def uncertainty_weighted(scores: Tensor, weights: Tensor, penalty: float = 0.5) -> Tensor:
    """mean_i z_i - penalty * Var_i z_i across principles: disagreement costs. [batch, principle] -> [batch].

    The variance is the population's, so one principle alone has none. Not monotone: an outlier above costs as well.
    """
    chosen = _positively_weighted(scores, weights)
    return chosen.mean(dim=1) - penalty * chosen.var(dim=1, correction=0)


def lower_quantile(scores: Tensor, weights: Tensor, quantile: float = 1 / 3) -> Tensor:
    """Mean of the lowest share of the principles, rounded up to whole principles. [batch, principle] -> [batch]."""
    chosen = _positively_weighted(scores, weights)
    return chosen.sort(dim=1).values[:, : _lowest_count(chosen.shape[1], quantile)].mean(dim=1)


def max_median(scores: Tensor, weights: Tensor) -> Tensor:
    """The true median: the mean of the two middle ones for an even number. [batch, principle] -> [batch]."""
    ordered = _positively_weighted(scores, weights).sort(dim=1).values
    count = ordered.shape[1]
    return ordered[:, (count - 1) // 2 : count // 2 + 1].mean(dim=1)


def bernoulli_nash(scores: Tensor, weights: Tensor) -> Tensor:
    """exp(sum_i |w_i| log sigmoid(sign(w_i) z_i)), in (0, 1): a weighted product of probabilities. -> [batch]."""
    return _log_probabilities(scores, weights).sum(dim=1).exp()


def tchebycheff(scores: Tensor, weights: Tensor, ideal: float = 3.0) -> Tensor:
    """-max_i v_i (ideal - z_i), v_i = w_i / mean w: the weighted distance from the ideal that is largest. -> [batch].

    Equal weights give the minimum, less the ideal. Reaches every Pareto-optimal point, also on a non-convex front.
    """
    return _distances(scores, weights, ideal).amin(dim=1)


def power_mean(scores: Tensor, weights: Tensor, power: float = -2.0) -> Tensor:
    """(sum_i |w_i| s_i^p)^(1/p) of s_i = sigmoid(sign(w_i) z_i), in (0, 1). [batch, principle] -> [batch].

    p = 1 is the mean, p towards 0 the geometric mean, which is `bernoulli_nash`, p towards -infinity the minimum.
    """
    logs = _sided_logs(scores, weights)
    if abs(power) < NO_POWER:
        return (logs * weights.abs()).sum(dim=1).exp()
    return (torch.logsumexp(power * logs + weights.abs().log(), dim=1) / power).exp()


def lexicographic(scores: Tensor, weights: Tensor, thresholds: Tensor) -> Tensor:
    """Levels in order of weight: [batch, principle], [principle], thresholds [principle] -> [batch].

    Principles of one weight are a level, whose slack is min_i (z_i - threshold_i); levels come in the order of their
    weight. The reward is the number of levels passed before the first that is short (slack < 0), plus exp(its slack);
    where none is short, the number of levels plus the slack of the last one.
    """
    return _levels(scores, weights, thresholds)[0].sum(dim=1)


def constrained(scores: Tensor, weights: Tensor, limits: Limits) -> Tensor:
    """(sum_free w_i z_i + sum_c lambda_c (z_c - d_c)) / (1 + sum_c lambda_c): see `constraints`. -> [batch].

    Principles with a multiplier are constraints, whatever their weight; the others are the linear objective.
    """
    return _lagrangian(scores, weights, limits).sum(dim=1)


FUNCTIONS: dict[Function, Callable[[Tensor, Tensor, Scalarization, Limits], Tensor]] = {
    "linear": lambda z, w, *_: linear(z, w),
    "worst_case": lambda z, w, *_: worst_case(z, w),
    "soft_max_min": lambda z, w, settings, _: soft_max_min(z, w, settings.temperature),
    "uncertainty_weighted": lambda z, w, settings, _: uncertainty_weighted(z, w, settings.penalty),
    "lower_quantile": lambda z, w, settings, _: lower_quantile(z, w, settings.quantile),
    "max_median": lambda z, w, *_: max_median(z, w),
    "bernoulli_nash": lambda z, w, *_: bernoulli_nash(z, w),
    "tchebycheff": lambda z, w, settings, _: tchebycheff(z, w, settings.ideal),
    "power_mean": lambda z, w, settings, _: power_mean(z, w, settings.power),
    "lexicographic": lambda z, w, _, limits: lexicographic(z, w, limits.thresholds),
    "constrained": lambda z, w, _, limits: constrained(z, w, limits),
}


def scalarize(scores: Tensor, weights: Tensor, settings: Scalarization, limits: Limits | None = None) -> Tensor:
    """The reward of each row by the function that `settings` names.

    Args:
        scores: standardised scores z, [batch, principle].
        weights: any weights that are not all zero, [principle]; they are divided by the sum of their absolute values.
        settings: function and its parameters.
        limits: caps, thresholds and multipliers by principle; None: none is capped or constrained.

    Returns:
        Rewards, [batch].

    Raises:
        BadSettings: no principle has a weight that this function can use.
    """
    shares, limits = _shares(weights, settings.function), _fitting(limits, scores, settings)
    return FUNCTIONS[settings.function](capped(scores, shares, limits.caps), shares, settings, limits)


def contributions(scores: Tensor, weights: Tensor, settings: Scalarization, limits: Limits | None = None) -> Tensor:
    """How much of each row's reward comes from each principle: [batch, principle], each row sums to its reward.

    linear: w_i z_i. worst_case and max_median: all of it on the principle that is the minimum or the median (shared by
    the middle two). lower_quantile: z_i / n for the n lowest. soft_max_min: z_i times its softmax.
    uncertainty_weighted: (z_i - penalty (z_i - mean)^2) / n. bernoulli_nash is a product and has no true parts: each
    principle starts with its share |w_i| of the perfect reward 1, and what is missing, 1 - reward, is taken away in
    proportion to the log-losses. power_mean: in proportion to |w_i| s_i^p. tchebycheff: all of it on the principle that
    is furthest. lexicographic: 1 for each level passed and the rest for the first that is short, each on the lowest of
    its level. constrained: w_i z_i or lambda_c (z_c - d_c), by the common divisor.
    """
    shares, limits = _shares(weights, settings.function), _fitting(limits, scores, settings)
    scores = capped(scores, shares, limits.caps)
    if settings.function == "constrained":
        return _lagrangian(scores, shares, limits)
    if settings.function == "lexicographic":
        return _levels(scores, shares, limits.thresholds)[0]
    if settings.function == "power_mean":
        return power_mean(scores, shares, settings.power).unsqueeze(1) * _power_parts(scores, shares, settings.power)
    if settings.function == "tchebycheff":
        distances = _distances(scores, shares, settings.ideal)
        return torch.zeros_like(distances).scatter(1, distances.argmin(dim=1, keepdim=True),
                                                   distances.amin(dim=1, keepdim=True))
    if settings.function == "linear":
        return scores * shares
    if settings.function == "bernoulli_nash":
        logs = _log_probabilities(scores, shares)
        total = logs.sum(dim=1, keepdim=True)
        return shares.abs() + total.exp().sub(1) * logs / total.clamp(max=-torch.finfo(logs.dtype).tiny)
    chosen = _positively_weighted(scores, shares)
    parts = chosen * _row_weights(chosen, settings)
    if settings.function == "uncertainty_weighted":
        parts = parts - settings.penalty * (chosen - chosen.mean(dim=1, keepdim=True)).square() / chosen.shape[1]
    by_principle = torch.zeros_like(scores)
    by_principle[:, shares > 0] = parts
    return by_principle


def active(scores: Tensor, weights: Tensor, settings: Scalarization, limits: Limits | None = None) -> Tensor:
    """The index of the principle that drives each row, [batch] of int64.

    worst_case, soft_max_min and lower_quantile: the lowest. max_median: the (lower) middle one. bernoulli_nash: the one
    that costs most. tchebycheff: the furthest. lexicographic: the lowest of the level that is short. power_mean: the
    one whose score moves the reward most. linear, constrained and uncertainty_weighted: the one whose contribution is
    largest either way.
    """
    shares, limits = _shares(weights, settings.function), _fitting(limits, scores, settings)
    if settings.function in {"linear", "uncertainty_weighted", "constrained"}:
        return contributions(scores, weights, settings, limits).abs().argmax(dim=1)
    scores = capped(scores, shares, limits.caps)
    if settings.function == "tchebycheff":
        return _distances(scores, shares, settings.ideal).argmin(dim=1)
    if settings.function == "lexicographic":
        return _levels(scores, shares, limits.thresholds)[1]
    if settings.function == "power_mean":
        slope = 1 - _sided_logs(scores, shares).exp()  # d log s / dz
        return (_power_parts(scores, shares, settings.power) * slope).argmax(dim=1)
    if settings.function == "bernoulli_nash":
        return _log_probabilities(scores, shares).argmin(dim=1)
    chosen = _positively_weighted(scores, shares)
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


def capped(scores: Tensor, weights: Tensor, caps: Tensor) -> Tensor:
    """Scores [batch, principle] that go no further than each principle's cap in the direction its weight asks for."""
    side = torch.where(weights < 0, -1.0, 1.0).to(scores)
    return side * torch.minimum(side * scores, caps)


def _distances(scores: Tensor, weights: Tensor, ideal: float) -> Tensor:
    """v_i (z_i - ideal), [batch, principle]; infinite, and so never the least, where a principle takes no part."""
    chosen = weights > 0
    relative = weights / weights[chosen].mean()
    return torch.where(chosen, relative * (scores - ideal), torch.inf)


def _sided_logs(scores: Tensor, weights: Tensor) -> Tensor:
    return logsigmoid(scores * torch.where(weights < 0, -1.0, 1.0).to(scores))


def _power_parts(scores: Tensor, weights: Tensor, power: float) -> Tensor:
    """|w_i| s_i^p as shares of each row's sum, [batch, principle]."""
    return torch.softmax(power * _sided_logs(scores, weights) + weights.abs().log(), dim=1)


def _levels(scores: Tensor, weights: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """`lexicographic` in parts, [batch, principle], and the principle that decides each row, [batch]."""
    parts = torch.zeros_like(scores)
    decides = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    short = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    steps = weights[weights > 0].unique().flip(0)
    for step in steps:
        members = torch.nonzero(weights == step).flatten()
        slack, place = (scores - thresholds)[:, members].min(dim=1)
        lowest = members[place]
        last = slack if bool(step == steps[-1]) else torch.zeros_like(slack)
        value = torch.where(slack < 0, slack.clamp(max=0).exp(), 1 + last)
        parts.scatter_add_(1, lowest.unsqueeze(1), torch.where(short, 0, value).unsqueeze(1))
        decides = torch.where(short, decides, lowest)
        short = short | (slack < 0)
    return parts, decides


def _lagrangian(scores: Tensor, weights: Tensor, limits: Limits) -> Tensor:
    """`constrained` in parts, [batch, principle]."""
    free = torch.where(limits.multipliers > 0, 0, weights)
    over = torch.where(limits.multipliers > 0, scores - limits.thresholds, 0)
    return (free * scores + limits.multipliers * over) / (1 + limits.multipliers.sum())


def _fitting(limits: Limits | None, scores: Tensor, settings: Scalarization) -> Limits:
    """Limits in the number format of the scores, and where they are."""
    return Limits(*(tensor.to(scores) for tensor in limits or no_limits(scores.shape[1], settings)))


def _shares(weights: Tensor, function: Function) -> Tensor:
    usable = weights != 0 if function in SIGNED else weights > 0
    if not bool(usable.any()):
        raise BadSettings(
            f"No principle has a weight that the scalarization '{function}' can use.",
            "Give at least one principle a weight above zero, or choose 'linear'.",
        )
    return weights / weights.abs().sum()


def _positively_weighted(scores: Tensor, weights: Tensor) -> Tensor:
    return scores[:, weights > 0]


def _log_probabilities(scores: Tensor, weights: Tensor) -> Tensor:
    return weights.abs() * logsigmoid(scores * weights.sign())


def _lowest_count(principles: int, quantile: float) -> int:
    # 25 principles times 0.28 are 7.000000000000001 in floating point: do not round that up to eight.
    return max(1, math.ceil(principles * quantile - 1e-9))
