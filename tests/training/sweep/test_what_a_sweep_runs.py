"""The runs of a sweep before anything runs: each is checked, identical ones are one, and stages are counted."""

from __future__ import annotations

from typing import Any

import pytest

from training.config import Recipe, check_recipe
from training.errors import BadSettings
from training.sweep.sweep_file import check_sweep
from training.sweep.sweep_plan import SweepRun, stage_counts, sweep_runs, vary


def two_principles() -> Recipe:
    return check_recipe({"name": "Two", "principles": [{"name": "factuality"}, {"name": "conciseness"}]})


def runs_of(**over: Any) -> list[SweepRun]:
    return sweep_runs(check_sweep({"recipe": "demo", "over": over}), two_principles())


def test_a_path_leads_to_a_setting_a_principle_or_a_new_entry() -> None:
    recipe = vary(two_principles(), {
        "seed": 4, "ppo.kl.target": 2.5, "principles.conciseness.weight": 3, "scalarization.caps.factuality": 1.5,
        "sft": {"enabled": False}})
    assert (recipe.seed, recipe.ppo.kl.target, recipe.scalarization.caps) == (4, 2.5, {"factuality": 1.5})
    assert [choice.weight for choice in recipe.principles] == [1, 3]
    without = vary(two_principles(), {"policy.lora": None})
    assert without.policy.lora is None
    adapted = vary(without, {"policy.lora.r": 8}).policy.lora
    assert adapted is not None and adapted.r == 8


def test_varying_leaves_the_recipe_as_it_was() -> None:
    base = two_principles()
    vary(base, {"principles.factuality.weight": 9, "ppo.steps": 1})
    assert base == two_principles()


@pytest.mark.parametrize(("path", "value", "words"), [
    ("ppo.clip", -1, "ppo.clip: must be above 0 (given: -1)"),
    ("ppo.stepz", 7, "ppo.stepz: is not a setting of a recipe"),
    ("ppo.steps.more", 7, "'ppo.steps.more' (7) names no setting of the recipe"),
    ("ppo.steps.more.deep", 7, "'ppo.steps.more.deep' (7) names no setting of the recipe"),
    ("principles.toxicity.weight", 7, "'principles.toxicity.weight' (7) names no principle of the recipe"),
    ("principles.factuality", 7, "'principles.factuality' (7) names no setting of the recipe"),
    ("ppo.max_new_tokens", 4000, "'ppo.max_new_tokens' is 4000, and 'demo-world' has"),  # known to its model alone
    ("scalarization.caps.toxicity", 1, "'caps' and 'thresholds' name toxicity"),
])
def test_a_combination_that_cannot_be_run_is_named_with_its_path_and_value(path: str, value: Any, words: str) -> None:
    with pytest.raises(BadSettings) as refused:
        runs_of(list=[{"seed": 1}, {path: value, "seed": 2}])
    assert f"Combination 2 ({path} = {value}, seed = 2) cannot be run: " in str(refused.value)
    assert words in str(refused.value)


def test_identical_recipes_are_one_run() -> None:
    """The recipe's own value, and the same number written in another way, are no variation."""
    runs = runs_of(list=[{"ppo.steps": 200}, {"seed": 0}, {"ppo.steps": 5}, {"ppo.steps": "5"}, {"repeat": 1}])
    assert [run.number for run in runs] == [1, 2, 3]
    assert [run.title for run in runs] == ["ppo.steps = 200", "ppo.steps = 5", "repeat = 1"]
    assert [run.recipe.name for run in runs] == ["Two, run 1", "Two, run 2", "Two, run 3"]


def test_weightings_share_all_stages_up_to_the_weights() -> None:
    """Sample, two label stages and two preference models once; weights, PPO and evaluation for each."""
    runs = runs_of(simplex={"principles": ["factuality", "conciseness"], "parts": 9})
    assert stage_counts(runs) == (10 * 8, 5 + 10 * 3)


def test_repetitions_share_the_weights_too_and_another_seed_shares_nothing() -> None:
    assert stage_counts(runs_of(seeds=[0, 1, 2])) == (24, 6 + 3 * 2)
    assert stage_counts(runs_of(grid={"seed": [0, 1]})) == (16, 16)
    assert stage_counts(runs_of(grid={"data.limit": [100, 200]})) == (16, 16)
    assert stage_counts(runs_of(grid={"evaluate.prompts": [10, 20]})) == (16, 9)


def test_a_long_value_is_cut_in_messages() -> None:
    (run,) = runs_of(list=[{"principles.factuality.statement": "x" * 500}])
    assert run.title == f"principles.factuality.statement = {'x' * 60} ..."
