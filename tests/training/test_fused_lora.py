"""An adapter folded into its base weights: the same outputs and the same gradients as peft's own forward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.tiny_models import PROMPTS
from training.config import Lora
from training.models import language_model, rollouts
from training.models.fused_lora import fused_lora
from training.models.language_model import LanguageModel

CPU = torch.device("cpu")


@pytest.fixture
def language(tiny_base: Path) -> LanguageModel:
    """The tiny base with an adapter whose second half is no longer zero."""
    torch.manual_seed(0)
    found = language_model.add_adapter(language_model.load(str(tiny_base), CPU), Lora(r=4))
    for parameter in language_model.trainable_parameters(found):
        torch.nn.init.normal_(parameter, std=0.1)
    return found


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


def test_a_bf16_base_keeps_the_forward_that_loses_nothing(tiny_base: Path) -> None:
    language = language_model.add_adapter(language_model.load(str(tiny_base), CPU, "bf16"), Lora(r=4))
    assert {parameter.dtype for parameter in language_model.trainable_parameters(language)} == {torch.float32}
    with fused_lora(language):
        assert not any("forward" in vars(layer) for layer in language_model.lora_layers(language))
