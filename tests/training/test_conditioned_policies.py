"""One policy for every trade-off: its corners, their gradients, the shares of a phase, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Lora, as_yaml, check_recipe, parse_recipe
from training.errors import BadSettings, StopRequested
from training.models import language_model, rollouts
from training.models.conditioned_adapter import ConditionedAdapter, ConditionedValueHead, add_corners
from training.models.language_model import LanguageModel, lora_layers
from training.models.policy_mix import Weighted, mix_policies
from training.ppo.conditioning import corner_names, drawn_shares
from training.ppo.health import Watch
from training.run.artifacts import Job, kept_policy, read_json
from training.run.pipeline import plan
from training.stages import ppo

CPU = torch.device("cpu")
NAMES = ("factuality", "toxicity")
SETTINGS = {"conditioned": True, "steps": 4, "learning_rate": 0.05, "checkpoint_every": 100}


def logits(language: LanguageModel) -> torch.Tensor:
    ids, mask = rollouts.pad_prompts(language, PROMPTS, 4)
    read: torch.Tensor = language.model(input_ids=ids, attention_mask=mask).logits
    return read


def logits_of(base: Path, adapter: Path) -> torch.Tensor:
    with torch.no_grad():
        return logits(language_model.load_adapter(language_model.load(str(base), CPU), adapter))


@pytest.fixture
def two_corners(tiny_base: Path) -> tuple[LanguageModel, ConditionedAdapter]:
    """A policy with two corners whose matrices are random."""
    language = add_corners(language_model.load(str(tiny_base), CPU), Lora(r=3, alpha=6), 2)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in lora_layers(language):
            layer.lora_B["default"].weight.normal_(std=0.1)
    return language, ConditionedAdapter(language, NAMES)


@pytest.fixture
def job_of(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Any:
    def make(**changes: Any) -> Job:
        recipe = make_recipe(tiny_base, ppo=SETTINGS | changes)
        return make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])

    return make


# The adapter ----------------------------------------------------------------------------------------------------------


def test_every_layer_adds_the_weighted_sum_of_its_corners_products(
    two_corners: tuple[LanguageModel, ConditionedAdapter],
) -> None:
    language, corners = two_corners
    layer = lora_layers(language)[0]
    a, master = layer.lora_A["default"].weight, corners.parameters[1]
    corners.use(torch.tensor([0.2, 0.8]))
    scaling = 2.0  # alpha 6 of rank 3
    expected = scaling * (0.2 * master[:, :3] @ a[:3] + 0.8 * master[:, 3:] @ a[3:])
    assert torch.allclose(layer.get_delta_weight("default"), expected, atol=1e-6)


def test_the_saved_corners_mix_to_the_policy_of_any_shares(
    two_corners: tuple[LanguageModel, ConditionedAdapter], tiny_base: Path, tmp_path: Path,
) -> None:
    language, corners = two_corners
    corners.save_corners(tmp_path)
    for shares in ((1.0, 0.0), (0.3, 0.7), (0.0, 1.0)):
        corners.use(torch.tensor(shares))
        with torch.no_grad():
            trained = logits(language)
        out = tmp_path / f"mix-{shares[0]}"
        mix_policies([Weighted(tmp_path / "corners" / name / "adapter", share)
                      for name, share in zip(NAMES, shares, strict=True)], out)
        assert (logits_of(tiny_base, out) - trained).abs().max() < 1e-5
    corner = read_json(tmp_path / "corners" / "toxicity" / "adapter" / "adapter_config.json")
    assert (corner["r"], corner["lora_alpha"]) == (3, 6)
    assert (logits_of(tiny_base, tmp_path / "corners" / "toxicity" / "adapter") - trained).abs().max() < 1e-5


def test_saving_leaves_the_policy_as_it_was(
    two_corners: tuple[LanguageModel, ConditionedAdapter], tmp_path: Path,
) -> None:
    language, corners = two_corners
    corners.use(torch.tensor([0.9, 0.1]))
    with torch.no_grad():
        before = logits(language)
        corners.save_corners(tmp_path)
        assert torch.equal(logits(language), before)


def test_a_masters_gradient_is_that_of_its_matrix_times_the_share(
    two_corners: tuple[LanguageModel, ConditionedAdapter],
) -> None:
    language, corners = two_corners
    corners.use(torch.tensor([0.25, 0.75]))
    logits(language).square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in corners.parameters]  # type: ignore[union-attr]

    # By finite differences of one entry of a master in each corner.
    for column in (0, 4):
        master = corners.parameters[1]
        step = 1e-2
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                master[5, column] += sign * step
                corners.write_back()
                losses.append(float(logits(language).double().square().sum()))
                master[5, column] -= sign * step
        slope = (losses[0] - losses[1]) / (2 * step)
        assert gradients[1][5, column].item() == pytest.approx(slope, rel=0.02)


def test_gradients_of_micro_batches_add_up_in_the_masters(
    two_corners: tuple[LanguageModel, ConditionedAdapter],
) -> None:
    language, corners = two_corners
    logits(language).sum().backward()
    once = corners.parameters[1].grad.clone()  # type: ignore[union-attr]
    logits(language).sum().backward()
    assert torch.allclose(corners.parameters[1].grad, 2 * once)  # type: ignore[arg-type]
    scaled = lora_layers(language)[0].lora_B["default"].weight
    assert scaled.grad is None and all(scaled is not parameter for parameter in corners.parameters)


def test_a_corner_without_a_share_learns_nothing(two_corners: tuple[LanguageModel, ConditionedAdapter]) -> None:
    language, corners = two_corners
    corners.use(torch.tensor([1.0, 0.0]))
    logits(language).square().sum().backward()
    a, b = (parameter.grad for parameter in corners.parameters[:2])
    assert a is not None and b is not None
    assert not a[3:].any() and not b[:, 3:].any() and a[:3].any() and b[:, :3].any()


def test_the_critic_is_the_weighted_sum_of_its_corners() -> None:
    critic = ConditionedValueHead(2, corners=2)
    with torch.no_grad():
        critic.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 10.0]]))
        critic.linear.bias.copy_(torch.tensor([3.0, 5.0]))
    critic.use(torch.tensor([0.5, 0.5]))
    # Heads: 1 x 2 + 3 = 5 and 10 x 1 + 5 = 15.
    assert critic(torch.tensor([[2.0, 1.0]])).tolist() == [10.0]


# The shares -----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.floats(0.05, 20), st.integers(0, 2**31 - 1), st.integers(0, 10**6))
def test_shares_are_shares_and_follow_from_seed_and_step(
    corners: int, concentration: float, seed: int, step: int,
) -> None:
    shares = drawn_shares(corners, concentration, seed, step)
    assert shares.shape == (corners,) and bool((shares >= 0).all())
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(shares, drawn_shares(corners, concentration, seed, step))


def test_a_small_concentration_draws_nearer_to_the_corners() -> None:
    largest = {concentration: np.mean([drawn_shares(3, concentration, 0, step).max().item() for step in range(400)])
               for concentration in (0.1, 1.0, 10.0)}
    # Of three even shares the largest is 11/18 on average (the mean of the longest piece of a broken stick).
    assert largest[0.1] > 0.85 and largest[1.0] == pytest.approx(11 / 18, abs=0.03) and largest[10.0] < 0.5


def test_only_principles_with_a_weight_get_a_corner() -> None:
    assert corner_names(["a", "b", "c"], {"a": 1.0, "b": 0.0, "c": -0.2}) == ["a", "c"]
    with pytest.raises(BadSettings, match=r"'ppo.conditioned' trades principles off, and 1 of them has a weight\."):
        corner_names(["a", "b"], {"a": 1.0, "b": 0.0})


# The stage ------------------------------------------------------------------------------------------------------------


def test_each_phase_is_rewarded_by_its_own_shares(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    ppo.run(job_of(), tmp_path / "run", reporter)
    phases = list(reporter.metrics.values())
    assert len(phases) == 4
    for step, metrics in enumerate(phases):
        shares = [metrics[f"conditioned/{name}"] for name in NAMES]
        assert shares == pytest.approx(drawn_shares(2, 1.0, 0, step).tolist())
        reward = sum(share * metrics[f"principle/{name}/standardised"]
                     for share, name in zip(shares, NAMES, strict=True))
        assert metrics["reward/total"] == pytest.approx(reward, abs=1e-5)
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["weights"] == {"factuality": 0.75, "toxicity": 0.25}


def test_the_result_is_the_policy_of_the_recipes_weights(job_of: Any, tiny_base: Path, tmp_path: Path) -> None:
    ppo.run(job_of(keep_every=2), tmp_path / "run", Remembering())
    for folder in (tmp_path / "run", kept_policy(tmp_path / "run", 2)):
        mix_policies([Weighted(folder / "corners" / "factuality" / "adapter", 0.75),
                      Weighted(folder / "corners" / "toxicity" / "adapter", 0.25)], folder.parent / "mix" / folder.name)
        mixed = logits_of(tiny_base, folder.parent / "mix" / folder.name)
        assert (mixed - logits_of(tiny_base, folder / "adapter")).abs().max() < 1e-5
    assert not torch.equal(mixed, logits_of(tiny_base, tmp_path / "run" / "adapter"))


def test_a_mix_names_the_corners_that_it_is_of(job_of: Any, tmp_path: Path) -> None:
    job = job_of(steps=1)
    ppo.run(job, tmp_path / "run", Remembering())
    (tmp_path / "run" / "job.json").write_text(job.model_dump_json())
    mix_policies([Weighted(tmp_path / "run" / "corners" / "toxicity" / "adapter", 1.0)], tmp_path / "mix")
    assert read_json(tmp_path / "mix" / "mix.json")["policies"][0]["policy"] == "run/corners/toxicity"


def test_a_stopped_stage_goes_on_to_the_same_bits(job_of: Any, tmp_path: Path) -> None:
    ppo.run(job_of(), tmp_path / "straight", Remembering())
    with pytest.raises(StopRequested):
        ppo.run(job_of(), tmp_path / "pieces", Remembering(stop_after=3))
    ppo.run(job_of(), tmp_path / "pieces", Remembering())
    for file in ("corners/factuality/adapter/adapter_model.safetensors", "adapter/adapter_model.safetensors",
                 "value_head.safetensors"):
        straight, pieces = (load_file(tmp_path / name / file) for name in ("straight", "pieces"))
        assert straight.keys() == pieces.keys()
        assert all(torch.equal(straight[key], pieces[key]) for key in straight)


def test_both_corners_learn_and_differ(job_of: Any, tmp_path: Path) -> None:
    ppo.run(job_of(), tmp_path / "run", Remembering())
    first, second = (load_file(tmp_path / "run" / "corners" / name / "adapter" / "adapter_model.safetensors")
                     for name in NAMES)
    trained = [key for key in first if ".lora_B." in key]
    assert all(first[key].any() and second[key].any() and not torch.equal(first[key], second[key]) for key in trained)


def test_principles_that_move_with_the_shares_are_no_alarm() -> None:
    def warnings(conditioned: bool) -> list[str]:
        watch = Watch(6.0)
        codes = []
        for step in range(40):
            values = {"principle/a/standardised": 1.0 if step < 20 else -1.0,
                      "principle/b/standardised": -1.0 if step < 20 else 1.0}
            codes += [finding.code for finding in watch.look(step, values | ({"conditioned/a": 0.5} if conditioned
                                                                             else {}))]
        return codes

    assert warnings(conditioned=False) == ["principles_apart"] and not warnings(conditioned=True)


# The recipe -----------------------------------------------------------------------------------------------------------


def test_a_recipe_that_is_not_conditioned_is_the_stage_that_it_was(tiny_base: Path) -> None:
    def settings_of(**changes: Any) -> dict[str, Any]:
        recipe = make_recipe(tiny_base, ppo=changes)
        of_ppo: dict[str, Any] = next(stage for stage in plan(recipe) if stage.kind == "ppo").settings["ppo"]
        return of_ppo

    assert settings_of(conditioned=True) == settings_of() | {"conditioned": True}
    assert not {"conditioned", "concentration"} & settings_of().keys()
    recipe = make_recipe(tiny_base, ppo={"conditioned": True, "concentration": 0.5})
    assert parse_recipe(as_yaml(recipe)) == recipe


@pytest.mark.parametrize(("changes", "message"), [
    ({"scalarization": {"function": "max_median"}}, "max_median only select; choose linear, bernoulli_nash"),
    ({"policy": {"lora": None}}, "'policy.lora' is null; choose LoRA"),
    ({"baseline": {"kind": "single_pm"}}, "the baseline 'single_pm' has one reward; set 'baseline.kind' to none"),
    ({"principles": [{"name": "toxicity"}, {"name": "factuality", "weight": 0}]}, "one has a weight; give two or more"),
    ({"ppo": {"conditioned": True, "critic": "separate"}}, "'critic' is separate.*choose shared"),
    ({"ppo": {"conditioned": True, "algorithm": "grpo", "batch_size": 16}}, "grpo has no 'conditioned'"),
])
def test_what_cannot_be_conditioned_is_refused_with_a_way_out(changes: dict[str, Any], message: str) -> None:
    recipe = {"principles": [{"name": "toxicity"}, {"name": "factuality"}], "ppo": {"conditioned": True}}
    with pytest.raises(BadSettings, match=message):
        check_recipe(recipe | changes)
