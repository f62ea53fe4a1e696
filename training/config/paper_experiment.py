"""What is trained to reproduce MORLAIF (arXiv 2406.07295): the arms of the comparison and their recipes. Torch-free.

All arms share one set of prompts, pairs, labels and preference models: their recipes differ in the scalarization or in
the baseline alone, and their repetitions in the draw of PPO and evaluation. Left out: several judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from training.config import DEMO_WORLD, Function, Recipe, check_recipe, shipped_recipe

SCALARIZATIONS: tuple[Function, ...] = (
    "linear", "worst_case", "soft_max_min", "uncertainty_weighted", "lower_quantile", "max_median", "bernoulli_nash",
)  # fmt: skip
"""The seven functions of the paper; the first one is what the other arms are compared with."""

SMALL = "small_pms"
MOST_SINGLE = 4
DEMO_PHASES = 50
"""The demo preset has 60; fifteen arms with three seeds are 45 policies to train."""


class Arm(NamedTuple):
    """One way of making a policy. `group` says what it is compared as."""

    name: str
    title: str
    group: str
    recipe: Recipe


def demo_recipe(phases: int = DEMO_PHASES) -> Recipe:
    """The demo preset with fewer phases, and with more pairs, of which more are held out: 200 to tell accuracies by."""
    settings = shipped_recipe("demo").model_dump(mode="json")
    settings["judge"]["max_pairs"] = settings["sample"]["count"] = 800
    settings["preference_model"]["held_out"] = 0.25
    settings["ppo"] |= {"steps": phases, "sample_prompts": 0}
    return check_recipe(settings | {"name": "The paper"})


def arms(recipe: Recipe, single: int = MOST_SINGLE, small_bases: Mapping[int, str] | None = None) -> list[Arm]:
    """The arms: every scalarization, both one-model baselines, the weightiest principles alone, small models.

    Args:
        recipe: the multi-objective run; its own scalarization and baseline are replaced.
        single: at most this many single-principle baselines, those of the largest weight.
        small_bases: bases for preference models that are smaller than the policy, by their number of layers.
    """
    all_arms = [_arm(recipe, function, function.replace("_", " "), "scalarization", function=function)
             for function in SCALARIZATIONS]
    all_arms.append(_arm(recipe, "single_pm", "single PM", "baseline", baseline={"kind": "single_pm"}))
    all_arms.append(_arm(recipe, "pooled_pm", "pooled PM", "baseline", baseline={"kind": "pooled_pm"}))
    weightiest = sorted(recipe.rewarded, key=lambda choice: -abs(choice.weight))[:single]
    for choice in recipe.rewarded:
        if choice in weightiest and choice.weight > 0:
            all_arms.append(_arm(recipe, f"only_{choice.name}", f"{choice.name} only", "single principle",
                              baseline={"kind": "single_principle", "principle": choice.name}))
    for layers, base in (small_bases or {}).items():
        title = f"PMs of {layers} layer{'s' if layers > 1 else ''}"
        all_arms.append(_arm(recipe, f"{SMALL}_{layers}", title, "small models", base=base))
    return all_arms


def repetitions(arm: Arm, seeds: Sequence[int]) -> list[Recipe]:
    """The arm's recipe once per seed."""
    return [check_recipe(arm.recipe.model_dump(mode="json") | {"repeat": seed, "name": f"{arm.recipe.name}, {seed}"})
            for seed in seeds]


def wants_small_models(recipe: Recipe) -> bool:
    """Whether arms of smaller preference models can be made here: out of the demo world's own base."""
    return recipe.preference_model.base == DEMO_WORLD == recipe.policy.base


def has_small_models(recipe: Recipe) -> bool:
    """Whether the recipe's own preference models have another base than the policy."""
    return recipe.preference_model.base != recipe.policy.base


def _arm(recipe: Recipe, name: str, title: str, group: str, function: str = "linear", base: str = "",
         baseline: dict[str, str] | None = None) -> Arm:
    settings: dict[str, Any] = recipe.model_dump(mode="json")
    settings["scalarization"]["function"] = function
    settings["baseline"] = baseline or {"kind": "none"}
    if base:
        settings["preference_model"]["base"] = base
    return Arm(name, title, group, check_recipe(settings | {"name": f"{recipe.name}: {title}"[:190]}))
