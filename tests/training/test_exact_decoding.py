"""What a model decodes here is what its plain forward pass says, in every family; else it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.training.tiny_families import FAMILIES, make_family
from tests.training.tiny_models import PROMPTS
from training.config import Lora
from training.errors import ModelUnavailable
from training.models import exactness, language_model, rollouts
from training.models.fused_lora import fused_lora
from training.models.language_model import LanguageModel
from training.run.checks import check_base
from training.run.model_names import ModelHome

CPU = torch.device("cpu")
INEXACT = {"roberta": "counts the padding", "rwkv": "recurrent state", "recurrent_gemma": "recurrent state"}
EXACT = [name for name in FAMILIES if name not in INEXACT]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    home = tmp_path_factory.mktemp("families")
    return cache(lambda name: make_family(name, home / name))


def plain_logprobs(language: LanguageModel, rollout: rollouts.Rollout, row: int) -> torch.Tensor:
    """Log-probabilities of a row's response tokens, from its unpadded tokens in one pass without a cache."""
    prompt = rollout.prompts[row][rollout.prompt_mask[row] == 1]
    response = rollout.responses[row][rollout.mask[row] == 1]
    logits = language.model(input_ids=torch.cat([prompt, response])[None], use_cache=False).logits[0].float()
    return logits.log_softmax(-1)[len(prompt) - 1: -1].gather(1, response[:, None]).squeeze(1)


@pytest.mark.parametrize("name", EXACT)
def test_a_family_is_decoded_and_read_again_exactly(name: str, family: Callable[[str], Path]) -> None:
    language = language_model.load(family(name), CPU)
    exactness.check_decoding(language, "policy.base")
    assert max(exactness.measure(language)) < 1e-3
    ids, mask = rollouts.pad_prompts(language, PROMPTS, 8)
    sampling = rollouts.Sampling(8, temperature=0)
    rollout = rollouts.generate(language, ids, mask, sampling, torch.Generator())
    with torch.no_grad():
        again = rollouts.forward_responses(language, rollout).logprobs
        for row in range(len(PROMPTS)):
            plain = plain_logprobs(language, rollout, row)
            assert torch.allclose(again[row, : len(plain)], plain, atol=1e-3)
    # Drawn alone, without padding, each prompt gets the same likeliest tokens.
    for row, prompt in enumerate(PROMPTS):
        alone = rollouts.generate(language, *rollouts.pad_prompts(language, [prompt], 8), sampling, torch.Generator())
        length = int(rollout.mask[row].sum())
        assert alone.responses[0].tolist() == rollout.responses[row, :length].tolist()


@pytest.mark.parametrize("name", EXACT)
def test_an_adapter_changes_decoding_and_training_alike(name: str, family: Callable[[str], Path]) -> None:
    language = language_model.add_adapter(language_model.load(family(name), CPU), Lora(r=2, alpha=8))
    torch.manual_seed(0)
    for parameter in language_model.trainable_parameters(language):
        torch.nn.init.normal_(parameter, std=0.2)
    ids, mask = rollouts.pad_prompts(language, PROMPTS, 6)
    with language_model.merged(language):
        rollout = rollouts.generate(language, ids, mask, rollouts.Sampling(6), torch.Generator().manual_seed(1))
        with torch.no_grad():
            while_merged = rollouts.forward_responses(language, rollout).logprobs
    with fused_lora(language):
        in_training = rollouts.forward_responses(language, rollout).logprobs
    (in_training * rollout.mask).sum().backward()
    unmoved = [key for key, weight in language.model.named_parameters()
               if weight.requires_grad and (weight.grad is None or not weight.grad.abs().sum() > 0)]
    assert unmoved == []
    assert torch.allclose(while_merged, in_training.detach(), atol=1e-3)


@pytest.mark.parametrize(("name", "why"), INEXACT.items())
def test_a_family_that_cannot_be_decoded_exactly_is_refused_by_its_config(
    name: str, why: str, family: Callable[[str], Path]
) -> None:
    refusal = f"'policy.base' names '{name}', which is a model of the family {name}.*not be exact, because.*{why}"
    with pytest.raises(ModelUnavailable, match=refusal):
        check_base("policy.base", str(family(name)), ModelHome())


@pytest.mark.parametrize("name", INEXACT)
def test_what_no_list_names_is_refused_by_measuring_it(name: str, family: Callable[[str], Path]) -> None:
    language = language_model.load(family(name), CPU)
    with pytest.raises(ModelUnavailable, match=f"'policy.base' names '{name}', a model of the family {name}: .*"
                                               r"(not be exact .*differ by \d|cannot be decoded here)"):
        exactness.check_decoding(language, "policy.base")


@pytest.mark.parametrize("name", ["gpt2", "mamba", "lfm2"])
def test_bf16_is_measured_by_what_rounding_allows(name: str, family: Callable[[str], Path]) -> None:
    exactness.check_decoding(language_model.load(family(name), CPU, "bf16"), "policy.base")
