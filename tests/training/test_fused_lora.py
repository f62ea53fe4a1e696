"""An adapter folded into its base weights: the same outputs and the same gradients as peft's own forward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer

from tests.training.tiny_models import PROMPTS
from training import preference_models as pm
from training.config import Lora
from training.models import fused_lora as fused_lora_module
from training.models import language_model, rollouts
from training.models.fused_lora import _AddedLinears, can_fuse, draw_mask, fused_layers, fused_lora
from training.models.language_model import LanguageModel

CPU = torch.device("cpu")


@pytest.fixture
def language(tiny_base: Path) -> LanguageModel:
    """The tiny base with an adapter whose second half is no longer zero."""
    torch.manual_seed(0)
    model = language_model.add_adapter(language_model.load(str(tiny_base), CPU), Lora(r=4))
    for parameter in language_model.trainable_parameters(model):
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def rollout_of(language: LanguageModel) -> rollouts.Rollout:
    ids, mask = rollouts.pad_prompts(language, PROMPTS, 8)
    return rollouts.generate(language, ids, mask, rollouts.Sampling(8), torch.Generator().manual_seed(0))


def logprobs_and_gradients(language: LanguageModel, rollout: rollouts.Rollout) -> list[torch.Tensor]:
    read = rollouts.forward_responses(language, rollout)
    loss = (read.logprobs * rollout.mask).sum()
    return [read.logprobs.detach(), *torch.autograd.grad(loss, language_model.trainable_parameters(language))]


def test_outputs_and_gradients_are_those_of_the_unfolded_adapter(language: LanguageModel) -> None:
    rollout = rollout_of(language)
    unfolded = logprobs_and_gradients(language, rollout)
    with fused_lora(language):
        inside = logprobs_and_gradients(language, rollout)
    for plain, quick in zip(unfolded, inside, strict=True):
        assert torch.allclose(plain, quick, rtol=1e-3, atol=1e-3)
    after = logprobs_and_gradients(language, rollout)
    assert all(torch.equal(plain, again) for plain, again in zip(unfolded, after, strict=True))


def test_the_reference_is_the_base_within_it(language: LanguageModel) -> None:
    rollout = rollout_of(language)
    with torch.no_grad():
        with language_model.reference(language):
            outside = rollouts.forward_responses(language, rollout).logprobs
        with fused_lora(language), language_model.reference(language):
            assert torch.equal(rollouts.forward_responses(language, rollout).logprobs, outside)


def test_a_change_of_the_adapter_shows_after_folding_again(language: LanguageModel) -> None:
    rollout = rollout_of(language)
    with torch.no_grad(), fused_lora(language) as refresh:
        before = rollouts.forward_responses(language, rollout).logprobs
        for parameter in language_model.trainable_parameters(language):
            parameter.mul_(1.5)
        assert torch.equal(rollouts.forward_responses(language, rollout).logprobs, before)
        refresh()
        folded_in = rollouts.forward_responses(language, rollout).logprobs
    with torch.no_grad():
        assert torch.allclose(rollouts.forward_responses(language, rollout).logprobs, folded_in, atol=1e-4)
    assert not torch.allclose(folded_in, before, atol=1e-3)


def with_random_adapter(base: Path, precision: str, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    policy = language_model.add_adapter(language_model.load(base, CPU, precision), Lora(r=4))
    for parameter in language_model.trainable_parameters(policy):
        assert parameter.dtype == torch.float32
        torch.nn.init.normal_(parameter, std=0.1)
    return policy


def test_beside_a_bf16_base_it_is_as_near_to_fp32_as_peft_is(tiny_base: Path) -> None:
    """Over several adapters: how one rounds depends on the processor."""
    ours, of_peft = 0.0, 0.0
    for seed in range(6):
        exact, policy = (with_random_adapter(tiny_base, precision, seed) for precision in ("fp32", "bf16"))
        rollout = rollout_of(policy)
        truth, unfused = logprobs_and_gradients(exact, rollout), logprobs_and_gradients(policy, rollout)
        with fused_lora(policy):
            fused = logprobs_and_gradients(policy, rollout)
        assert all(tensor.dtype == torch.float32 for tensor in fused)
        ours += relative_error(fused, truth)
        of_peft += relative_error(unfused, truth)
    assert ours < 1.5 * of_peft, (ours, of_peft)


def relative_error(tensors: list[torch.Tensor], truth: list[torch.Tensor]) -> float:
    """Summed over log-probabilities and gradients."""
    return sum(float((tensor - exact).norm() / exact.norm()) for tensor, exact in zip(tensors, truth, strict=True))


def test_beside_a_bf16_base_a_zero_adapter_is_the_reference_after_a_refresh(tiny_base: Path) -> None:
    policy = with_random_adapter(tiny_base, "bf16")
    rollout = rollout_of(policy)
    with torch.no_grad(), fused_lora(policy) as refresh:
        adapted = rollouts.forward_responses(policy, rollout).logprobs
        for parameter in language_model.trainable_parameters(policy):
            parameter.zero_()
        assert torch.equal(rollouts.forward_responses(policy, rollout).logprobs, adapted)
        refresh()
        zero = rollouts.forward_responses(policy, rollout).logprobs
        with language_model.reference(policy):
            assert torch.equal(rollouts.forward_responses(policy, rollout).logprobs, zero)
    assert not torch.equal(zero, adapted)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_is_left_of_it(tiny_base: Path, precision: str) -> None:
    policy = language_model.add_adapter(language_model.load(tiny_base, CPU, precision), Lora(r=4))
    before = [set(vars(layer)) for layer in language_model.lora_layers(policy)]
    with fused_lora(policy):
        assert [set(vars(layer)) for layer in language_model.lora_layers(policy)] != before
    assert [set(vars(layer)) for layer in language_model.lora_layers(policy)] == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_dropout_outputs_and_gradients_are_those_of_the_masked_input(
        tiny_base: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer that drops, by autograd with the mask that was drawn."""
    model, _ = pm.new_model(str(tiny_base), Lora(r=4, alpha=8, dropout=0.25), CPU, precision)
    layer = next(module for module in model.modules() if isinstance(module, LoraLayer))
    for weight in layer.lora_B.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    masks: list[tuple[torch.Tensor, float]] = []
    monkeypatch.setattr(fused_lora_module, "draw_mask", lambda x, p: masks.append(draw_mask(x, p)) or masks[-1])
    base, a, b = layer.get_base_layer().weight, layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(3, 5, base.shape[1], dtype=base.dtype).requires_grad_()
    layer.train()
    assert can_fuse(layer, with_dropout=True) and not can_fuse(layer)
    with fused_layers(model, [layer]):
        ours = layer(x)
        gradients = torch.autograd.grad(ours.float().square().sum(), [x, a, b])
        layer.eval()
        without = layer(x)
    [(mask, kept_share)] = masks
    assert kept_share == 0.75 and 0.6 < mask.float().mean() < 0.9
    exact = x.float() @ base.float().T + 2.0 * (x.float() * mask / 0.75) @ a.T @ b.T
    expected = torch.autograd.grad(exact.square().sum(), [x, a, b])
    bound = 1e-4 if precision == "fp32" else 3e-2
    for one_way, the_other in zip([ours, *gradients], [exact, *expected], strict=True):
        assert (one_way - the_other).float().abs().max() <= bound * the_other.abs().max()
    plain = layer(x)
    assert (without - plain).float().abs().max() <= bound * plain.float().abs().max(), "nothing is dropped when scoring"


def test_without_a_copy_of_the_weights_it_is_the_same(language: LanguageModel) -> None:
    rollout = rollout_of(language)
    unfolded = logprobs_and_gradients(language, rollout)
    layers = language_model.lora_layers(language)
    with fused_layers(language.model, layers, sum_weights=False):
        assert not any("fused_weight" in vars(layer) for layer in layers)
        for plain, quick in zip(unfolded, logprobs_and_gradients(language, rollout), strict=True):
            assert torch.allclose(plain, quick, rtol=1e-3, atol=1e-3)


def test_maps_that_read_the_same_tensor_are_one_function(language: LanguageModel,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys and values are one; gate and up another: four functions a layer, not seven."""
    rollout = rollout_of(language)
    plain = logprobs_and_gradients(language, rollout)
    together: list[int] = []
    apply = _AddedLinears.apply
    monkeypatch.setattr(_AddedLinears, "apply", lambda x, scales, *more: together.append(len(scales)) or apply(
        x, scales, *more))
    with fused_layers(language.model, language_model.lora_layers(language), sum_weights=False):
        quick = logprobs_and_gradients(language, rollout)
    assert together == [3, 1, 2, 1] * language.model.config.num_hidden_layers
    for one_way, the_other in zip(plain, quick, strict=True):
        assert torch.allclose(one_way, the_other, rtol=1e-4, atol=1e-4)


def test_a_model_that_gives_its_maps_different_tensors_gets_each_its_own(language: LanguageModel) -> None:
    attention = language.model.model.layers[0].self_attn
    maps = [attention.q_proj, attention.k_proj, attention.v_proj]
    tensors = [torch.randn(2, 3, maps[0].in_features) for _ in maps]
    expected = [layer(x) for layer, x in zip(maps, tensors, strict=True)]
    with fused_layers(language.model, maps, sum_weights=False):
        for _ in range(2):
            got = [layer(x) for layer, x in zip(maps, tensors, strict=True)]
            assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(got, expected, strict=True))


def test_maps_with_other_ranks_and_scales_share_a_function(language: LanguageModel) -> None:
    """By autograd on the plain products, each matrix with a rank and a scale of its own."""
    attention = language.model.model.layers[0].self_attn
    maps = [attention.q_proj, attention.k_proj, attention.v_proj]
    for rank, layer in zip((2, 4, 3), maps, strict=True):
        layer.lora_A["default"].weight = torch.nn.Parameter(torch.randn(rank, layer.in_features))
        layer.lora_B["default"].weight = torch.nn.Parameter(torch.randn(layer.out_features, rank))
        layer.scaling["default"] = rank / 3
    x = torch.randn(2, 3, maps[0].in_features, requires_grad=True)
    learnt = [x, *(weight for layer in maps for weight in (layer.lora_A["default"].weight,
                                                           layer.lora_B["default"].weight))]
    ways = []
    for layers in ([], maps):
        with fused_layers(language.model, layers, sum_weights=False):
            outputs = [layer(x) for layer in maps]
            loss = sum((weight * output.sin()).sum() for weight, output in enumerate(outputs, 1))
            ways.append([*outputs, *torch.autograd.grad(loss, learnt)])
    for plain, quick in zip(*ways, strict=True):
        assert torch.allclose(plain, quick, rtol=1e-4, atol=1e-4)


def test_a_mask_drops_its_share_whatever_the_shape() -> None:
    torch.manual_seed(0)
    mask, kept_share = draw_mask(torch.empty(251, 399), 0.1)
    assert mask.shape == (251, 399) and kept_share == pytest.approx(0.9, abs=1e-5)
    assert float(mask.float().mean()) == pytest.approx(0.9, abs=0.005)
    assert draw_mask(torch.empty(9, 9), 0.0)[0].all()
