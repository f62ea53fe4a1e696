"""Layers that are exchanged for kernels: only those that compute the same, family by family, and nothing on a CPU."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama

from training.models import fast_layers
from training.models.fast_layers import has_kernels, prepare, use_kernels

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8,
         "max_position_embeddings": 32, "pad_token_id": 0}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run on a CPU, by Triton's interpreter; what is exchanged in modules of transformers is put back."""
    for family in (modeling_llama, modeling_gpt_neox):
        monkeypatch.setattr(family, fast_layers.ROTARY, getattr(family, fast_layers.ROTARY))
    monkeypatch.setattr(fast_layers, "runs_on", lambda tensor: True)


def model_of(family: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES | settings)).eval()
    for parameter in model.parameters():  # norms begin with ones, which hide a difference
        torch.nn.init.normal_(parameter, mean=0.1, std=0.3)
    return model


def logits_and_gradient(model: Any) -> tuple[torch.Tensor, ...]:
    embeddings = model.get_input_embeddings().weight
    logits = model(input_ids=torch.tensor([[5, 6, 7, 8], [9, 3, 2, 1]])).logits
    return logits, torch.autograd.grad(logits.sin().sum(), embeddings)[0]


@pytest.mark.parametrize(("family", "exchanged"), [
    ("llama", {"norm": 5, "mlp": 2, "rotary": 1}),
    ("qwen3", {"norm": 9, "mlp": 2, "rotary": 1}),  # queries and keys have norms too
    ("gemma", {"norm": 0, "mlp": 0, "rotary": 1}),  # a norm that adds one to its weight, and another activation
    ("gpt_neox", {"norm": 0, "mlp": 0, "rotary": 0}),
])
def test_a_model_computes_what_it_did(family: str, exchanged: dict[str, int]) -> None:
    model = model_of(family)
    before = logits_and_gradient(model)
    assert use_kernels(model) == exchanged
    for plain, fast in zip(before, logits_and_gradient(model), strict=True):
        assert torch.allclose(plain, fast, rtol=1e-4, atol=1e-5)


def test_a_layer_that_computes_something_else_keeps_its_own_forward() -> None:
    """Named as a norm and built like one, but with another power."""
    model = model_of("llama")
    norm = model.model.norm
    own = type("OddRMSNorm", (type(norm),), {"forward": lambda self, x: self.weight * x})
    norm.__class__ = own
    assert use_kernels(model)["norm"] == 4 and "forward" not in vars(norm)


def test_a_second_model_of_a_family_shares_what_the_first_exchanged() -> None:
    use_kernels(model_of("llama"))
    rotary = getattr(modeling_llama, fast_layers.ROTARY)
    assert isinstance(rotary, partial) and use_kernels(model_of("llama"))["rotary"] == 1
    assert getattr(modeling_llama, fast_layers.ROTARY) is rotary


def test_other_dtypes_go_through_the_layers_own_forward() -> None:
    model = model_of("llama")
    use_kernels(model)
    norm = model.model.norm
    x = torch.randn(2, 32).half()
    assert torch.equal(norm(x), type(norm).forward(norm, x)) and norm(x).dtype == torch.float32


def test_a_cpu_has_no_kernels(tiny_base: Path) -> None:
    model = model_of("llama")
    assert not has_kernels(torch.device("cpu"))
    prepare(model, torch.device("cpu"))
    assert not any("forward" in vars(module) for module in model.modules())
