"""How many tokens go through a model at once: as many as its shape and the machine's memory allow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.models import memory
from training.run import device, memory_plan

CPU = torch.device("cpu")


def shaped(hidden: int, intermediate: int, layers: int) -> LlamaForCausalLM:
    """A model of a shape, without weights."""
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(hidden_size=hidden, intermediate_size=intermediate, num_attention_heads=8,
                                            num_hidden_layers=layers, vocab_size=64))


def test_the_bytes_of_a_token_by_hand() -> None:
    model = shaped(576, 1536, 30)  # SmolLM2-135M: 3.3 MB per token were measured in fp32 on a CPU
    assert memory.activation_bytes_per_token(model) == 2 * 30 * (12 * 576 + 5 * 1536) * 4 == 3_502_080
    assert memory.activation_bytes_per_token(model, fused=True) == 3_502_080 / 2
    masks = 30 * (6 * 576 + 1536)  # a byte for each input of seven linear maps
    assert memory.activation_bytes_per_token(model, fused=True, dropout=True) == 3_502_080 / 2 + masks
    assert memory.activation_bytes_per_token(model.to(torch.bfloat16)) == 3_502_080 / 2


@pytest.mark.parametrize(("gigabytes", "tokens"),
                         [(4, 512), (8, 512), (24, 1024), (32, 2048), (64, 4096), (1000, 16_384)])
def test_a_base_of_135_million_takes_a_quarter_of_the_host(
        gigabytes: int, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 16,384 tokens at once it took 54 GB, and a machine of 24 GB killed it."""
    monkeypatch.setattr(memory, "total_bytes", lambda _: gigabytes * 2**30)
    assert memory.tokens_at_once(shaped(576, 1536, 30), CPU) == tokens


def test_small_models_take_what_they_always_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_bytes", lambda _: 8 * 2**30)
    assert memory.tokens_at_once(shaped(64, 128, 2), CPU) == memory_plan.MOST_TOKENS


def test_a_container_sees_its_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device, "_CGROUP_LIMIT", limit)
    installed = memory.total_bytes(CPU)
    limit.write_text("536870912\n")
    assert memory.total_bytes(CPU) == 2**29
    limit.write_text("max\n")
    assert memory.total_bytes(CPU) == installed > 2**29
