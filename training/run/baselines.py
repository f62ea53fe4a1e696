"""Baselines, fair by construction: a recipe's own pairs, judge, loss, budget, training and seed, but one preference
model instead of one per principle. Torch-free.

`single_pm` is the baseline of MORLAIF (arXiv 2406.07295): each pair is labelled by one principle, drawn at random. The
draw is by the share of each principle's weight, so that both have the same trade-off; with equal weights it is the
paper's uniform draw. The label drawn is the one that the multi-objective run bought, and so costs nothing again. Its
preference model learns from as many labels as each of the others does; the multi-objective run as a whole pays for K
times as many. Hence `pooled_pm`: one model that learns from all K labels of each pair, by their weighted mean, whose
Bradley-Terry loss has the gradient of the K losses together. `single_principle` rewards one principle and judges by all
of them. The first two need labels of every principle: a recipe in which a measure is the reward itself refuses them.

Left out: sentences of a constitution that are no principles of the recipe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from training.config import CONSTITUTION, Recipe
from training.run.artifacts import digest_of


def reward_principles(recipe: Recipe) -> dict[str, float]:
    """What the policy is rewarded by, with its given weight: a principle, or the one preference model of a baseline."""
    if recipe.baseline.kind == "none":
        return {choice.name: choice.weight for choice in recipe.rewarded}
    if recipe.baseline.kind == "single_principle":
        return {recipe.baseline.principle or recipe.rewarded[0].name: 1.0}
    return {CONSTITUTION: 1.0}


def measured_rewards(recipe: Recipe) -> dict[str, Any]:
    """By rewarded principle that needs no preference model, the settings of its measure."""
    rewarded = reward_principles(recipe)
    return {choice.name: choice.measure.model_dump(mode="json") for choice in recipe.principles
            if choice.name in rewarded and choice.serves == "reward" and choice.measure is not None}


def modelled(recipe: Recipe) -> list[str]:
    """What has a preference model: the rewarded principles that are not measured, or a baseline's only model."""
    measured = measured_rewards(recipe)
    return [name for name in reward_principles(recipe) if name not in measured]


def gauges(recipe: Recipe) -> dict[str, Any]:
    """By principle that is charted and never rewarded, the settings of its measure."""
    return {choice.name: choice.measure.model_dump(mode="json") for choice in recipe.principles
            if choice.serves == "gauge" and choice.measure is not None}


def is_mixed(recipe: Recipe) -> bool:
    """Whether one preference model learns from the labels of several principles."""
    return recipe.baseline.kind in {"single_pm", "pooled_pm"}


def principles_to_label(recipe: Recipe) -> list[str]:
    """The principles about which the run asks a judge or a measure, in the recipe's order."""
    if recipe.baseline.kind == "single_principle":
        return modelled(recipe)
    by_people = recipe.rated if recipe.preference_model.labels_from == "people" else {}
    return [choice.name for choice in recipe.principles if choice.serves == "labels" and choice.name not in by_people]


def drawn_principle(pair: str, shares: Mapping[str, float], seed: int) -> str:
    """The principle that labels a pair: drawn by its digest, so that other pairs and their order do not matter.

    Args:
        pair: the pair's digest.
        shares: by principle, in order; signs aside they sum to 1, and a share of 0 is never drawn.
    """
    point = int(digest_of([seed, "draw", pair])[:13], 16) / 16**13  # 52 bits: exact in a float
    names = [name for name, share in shares.items() if share]
    bounds = itertools.accumulate(abs(shares[name]) for name in names)
    return next((name for name, bound in zip(names, bounds, strict=True) if point < bound), names[-1])


def drawn_label(pair: str, rows: Mapping[str, Mapping[str, Any]], shares: Mapping[str, float], seed: int,
                ) -> dict[str, Any] | None:
    """The label of the principle drawn for a pair; None where that principle has none.

    Args:
        rows: by principle, the pair's row of labels.jsonl. A negative share inverts the label.
    """
    name = drawn_principle(pair, shares, seed)
    if name not in rows:
        return None
    return _turned(dict(rows[name])) if shares[name] < 0 else dict(rows[name])


def pooled_label(pair: str, rows: Mapping[str, Mapping[str, Any]], shares: Mapping[str, float],
                 ) -> dict[str, Any] | None:
    """All labels of a pair as one: their mean by share, over the principles that have one; None where none has."""
    probabilities = {name: row["probability"] if shares[name] > 0 else 1 - row["probability"]
                     for name, row in rows.items() if shares[name] and row["probability"] is not None}
    if not probabilities:
        return None
    total = math.fsum(abs(shares[name]) for name in probabilities)
    mean = math.fsum(abs(shares[name]) * probability for name, probability in probabilities.items()) / total
    return {"pair": pair, "principle": CONSTITUTION, "probability": mean, "p_shown": None, "p_swapped": None,
            "order_gap": None, "error": "", "tokens": 0, "model": "", "judge": "", "prompt_version": ""}


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    for key in ("probability", "p_shown", "p_swapped"):
        row[key] = None if row[key] is None else 1 - row[key]
    return row


def drawn_shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By principle, the share of rows that bear its name."""
    names = [row["principle"] for row in rows]
    return {name: names.count(name) / len(names) for name in dict.fromkeys(names)}
