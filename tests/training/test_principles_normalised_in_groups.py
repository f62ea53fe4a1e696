"""GRPO that normalises each principle in its group before they are summed (GDPO): no principle decides because its
scores vary more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from trl import GRPOTrainer

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Ppo, Scalarization, check_recipe
from training.errors import BadSettings
from training.reward.group_normalisation import normalised_in_groups
from training.reward.rewards import PrincipleRewards
from training.run.artifacts import digest_of
from training.run.pipeline import plan
from training.stages import ppo

GRPO = {"algorithm": "grpo", "group_size": 3, "steps": 2, "epochs": 1, "minibatches": 1, "micro_batch": 3}


class Named:
    """A scorer of which only the names are asked."""

    mean, std = torch.zeros(2), torch.ones(2)

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def score_raw(self, *_: Any, **__: Any) -> Tensor:
        raise NotImplementedError


def summed(scores: list[list[float]], weights: dict[str, float], size: int = 4, clip: float = 100,
           **scalarization: Any) -> list[float]:
    rewards = PrincipleRewards(Named(tuple(weights)), weights, Scalarization(**scalarization))
    values: list[float] = rewards.summed_in_groups(torch.tensor(scores), size, clip).tolist()
    return values


NARROW, WIDE = [0.0, 1.0, 2.0, 3.0], [30.0, 10.0, 0.0, 20.0]
"""Means 1.5 and 15; deviations sqrt(5/3) = 1.29099 and ten times as much."""


def test_a_spread_of_one_and_a_spread_of_ten_get_advantages_of_one_variance() -> None:
    normalised = normalised_in_groups(torch.tensor([NARROW, WIDE]).T.contiguous(), 4)
    assert normalised[:, 0].tolist() == pytest.approx([-1.1619, -0.3873, 0.3873, 1.1619], abs=2e-4)
    assert normalised[:, 1].tolist() == pytest.approx([1.1619, -0.3873, -1.1619, 0.3873], abs=2e-4)
    assert normalised.var(dim=0).tolist() == pytest.approx([1, 1], abs=1e-3)


def test_the_sum_is_weighted_by_shares_after_the_normalisation() -> None:
    scores = torch.tensor([NARROW, WIDE]).T.tolist()
    assert summed(scores, {"narrow": 1, "wide": 1}) == pytest.approx([0, -0.3873, -0.3873, 0.7746], abs=2e-4)
    assert summed(scores, {"narrow": 3, "wide": -1}) == pytest.approx([-1.1619, -0.1936, 0.5809, 0.7746], abs=2e-4)


def test_each_prompt_has_its_own_group() -> None:
    both = normalised_in_groups(torch.tensor([[1.0], [3.0], [100.0], [300.0]]), 2).flatten().tolist()
    assert both == pytest.approx([-0.7071, 0.7071, -0.7071, 0.7071], abs=1e-4)  # 1 / sqrt(2)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_a_principle_on_which_a_group_is_equal_contributes_nothing(value: float) -> None:
    scores = [[each, value] for each in NARROW]
    alone = summed([[each] for each in NARROW], {"narrow": 1})
    assert summed(scores, {"narrow": 1, "equal": 1}) == [pytest.approx(each / 2, abs=1e-7) for each in alone]
    assert summed([[value, value]] * 4, {"first": 1, "second": 3}) == [0, 0, 0, 0]


def test_what_rounding_leaves_of_equal_scores_is_nothing() -> None:
    """A third of three times -7.3 is not -7.3 in fp32; divided by the epsilon it would be half a percent."""
    equal = torch.full((3, 1), -7.3)
    assert float((equal - equal.mean()).abs().max()) > 0
    assert normalised_in_groups(equal, 3).tolist() == [[0], [0], [0]]


def test_caps_and_the_clip_come_before_the_normalisation() -> None:
    """What is beyond them is not seen: 0, 1, 1, 1 has mean 3/4 and deviation 1/2."""
    expected = pytest.approx([-1.5, 0.5, 0.5, 0.5], abs=1e-3)
    column = [[each] for each in NARROW]
    assert summed(column, {"narrow": 1}, clip=1) == expected
    assert summed(column, {"narrow": 1}, caps={"narrow": 1}) == expected


@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=8, max_size=8),
       st.tuples(*[st.floats(-3, 3).filter(lambda weight: abs(weight) > 0.01)] * 3), st.permutations(range(3)))
def test_the_order_of_the_principles_does_not_matter(
    scores: list[list[float]], weights: tuple[float, ...], order: list[int],
) -> None:
    names = ("a", "b", "c")
    given_order = summed(scores, dict(zip(names, weights, strict=True)))
    other = summed([[row[i] for i in order] for row in scores], {names[i]: weights[i] for i in order})
    assert other == pytest.approx(given_order, abs=1e-5)


def test_the_trainer_centres_each_group_and_scales_by_the_whole_batch(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch,
) -> None:
    advantages, summed_rewards = [], []
    score = GRPOTrainer._generate_and_score_completions
    add_up = PrincipleRewards.summed_in_groups

    def remember(trainer: Any, inputs: Any) -> Any:
        output = score(trainer, inputs)
        advantages.append(output["advantages"].clone())
        return output

    def remember_sums(*arguments: Any) -> Tensor:
        summed_rewards.append(add_up(*arguments))
        return summed_rewards[-1]

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", remember)
    monkeypatch.setattr(PrincipleRewards, "summed_in_groups", remember_sums)
    recipe = make_recipe(tiny_base, ppo=GRPO | {"group_normalise": "each", "no_eos_penalty": 0})
    reporter = Remembering()
    job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    ppo.run(job, tmp_path / "run", reporter)
    assert len(advantages) == len(summed_rewards) == 2
    for phase, sums in zip(advantages, summed_rewards, strict=True):
        assert phase.tolist() == pytest.approx((sums / (sums.std() + 1e-4)).tolist(), abs=1e-5)
        assert phase.view(2, 3).mean(dim=1).tolist() == pytest.approx([0, 0], abs=1e-5)
    parts = [f"principle/{name}/weighted" for name in ("factuality", "toxicity")]
    for values in reporter.metrics.values():  # the curves are those of the reward, whatever was normalised
        assert values["reward/total"] == pytest.approx(sum(values[part] for part in parts), abs=1e-5)
        assert values["group/all_alike"] in {0, 0.5, 1}


def ppo_settings(base: Path, **changes: Any) -> dict[str, Any]:
    recipe = make_recipe(base, ppo=GRPO | changes)
    settings: dict[str, Any] = next(stage for stage in plan(recipe) if stage.kind == "ppo").settings["ppo"]
    return settings


def test_a_recipe_without_the_setting_is_the_stage_that_it_was(tiny_base: Path) -> None:
    before, each = ppo_settings(tiny_base), ppo_settings(tiny_base, group_normalise="each")
    assert "group_normalise" not in before and each == before | {"group_normalise": "each"}
    assert digest_of(ppo_settings(tiny_base, group_normalise="reward")) == digest_of(before)
    assert "group_normalise" not in json.dumps(before)


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_other_algorithms_refuse_it(algorithm: str) -> None:
    with pytest.raises(ValidationError, match=f"{algorithm} has no 'group_normalise'; leave it at reward, or choose"):
        Ppo.model_validate({"algorithm": algorithm, "batch_size": 16, "group_normalise": "each"})


def test_only_a_sum_can_be_taken_apart() -> None:
    recipe = {"principles": [{"name": "toxicity"}], "ppo": {"algorithm": "grpo", "group_normalise": "each"}}
    check_recipe(recipe)
    with pytest.raises(BadSettings, match="'scalarization.function' is worst_case; choose linear, or set"):
        check_recipe(recipe | {"scalarization": {"function": "worst_case"}})
