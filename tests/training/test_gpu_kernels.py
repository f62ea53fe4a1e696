"""The kernels of a GPU, run by Triton's interpreter on a CPU, against the plain operations that they stand for.

In half precision: the interpreter rounds to bf16 towards zero, which no GPU does, but to fp16 as they all do.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tests.processes import ROOT, clean_environment
from training.models import gpu_kernels as kernels
from training.models.token_statistics import token_statistics

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])


def gradients(outputs: tuple[Tensor, ...], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(output.shape, generator=generator).to(output.dtype) for output in outputs]
    return torch.autograd.grad(outputs, inputs, weights)


@DTYPES
@pytest.mark.parametrize("columns", [7, 4096, 9000])
def test_log_probabilities_entropies_and_gradients_of_logits(dtype: torch.dtype, columns: int) -> None:
    torch.manual_seed(0)
    logits, tokens = (3 * torch.randn(5, columns)).to(dtype), torch.randint(columns, (5,))
    ways = []
    for statistics in (kernels.TokenStatistics.apply, token_statistics):
        given = logits.clone().requires_grad_()
        logprobs, entropies = statistics(given * 1, tokens, 0.7)
        ways.append((logprobs.detach(), entropies, *gradients((logprobs,), [given])))
    for ours, plain in zip(*ways, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-5)


def test_logits_of_minus_infinity_are_tokens_that_cannot_come() -> None:
    """Whole blocks of them too, before and behind what can come; a quarter each of four tokens is log 4."""
    logits = torch.full((1, 9000), float("-inf"))
    logits[0, 4096:4100] = 5.0
    logprobs, entropies = kernels.TokenStatistics.apply(logits, torch.tensor([4098]), 1.0)
    assert float(logprobs) == pytest.approx(-1.386294, abs=1e-5)
    assert float(entropies) == pytest.approx(1.386294, abs=1e-5)


def test_a_token_that_is_nearly_certain() -> None:
    logits = torch.tensor([[80.0, -80.0, 0.0]])
    logprobs, entropies = kernels.TokenStatistics.apply(logits, torch.tensor([1]), 1.0)
    assert float(logprobs) == pytest.approx(-160.0) and float(entropies) == pytest.approx(0.0, abs=1e-5)


@DTYPES
@pytest.mark.parametrize("few_tokens", [0, 1024])
def test_rotary_positions_to_the_bit(dtype: torch.dtype, few_tokens: int,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads in programs of their own or together, a width that is no power of two, queries and keys as a layer has
    them: a transposed view."""
    monkeypatch.setattr(kernels, "FEW_TOKENS", few_tokens)
    torch.manual_seed(0)
    q, k = (torch.randn(2, 5, heads, 24).to(dtype).transpose(1, 2).requires_grad_() for heads in (3, 1))
    angles = torch.randn(2, 5, 12).repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    ours, plain = kernels.Rotary.apply(q, k, cos, sin), apply_rotary_pos_emb(q, k, cos, sin)
    for one, other in zip((*ours, *gradients(ours, [q, k])), (*plain, *gradients(plain, [q, k])), strict=True):
        assert torch.equal(one, other)


@DTYPES
def test_a_gated_activation(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate, up = ((4 * torch.randn(3, 700)).to(dtype).requires_grad_() for _ in range(2))
    ours, plain = kernels.SiluProduct.apply(gate, up), silu(gate) * up
    bound = 2e-6 if dtype == torch.float32 else 2e-3
    for one, other in zip((ours, *gradients((ours,), [gate, up])), (plain, *gradients((plain,), [gate, up])),
                          strict=True):
        assert torch.allclose(one, other, rtol=bound, atol=bound)


def test_every_kernel_compiles_for_a_gpu() -> None:
    """Which the interpreter does not show; no GPU is needed for it."""
    environment = clean_environment() | {"TRITON_INTERPRET": "0"}
    ran = subprocess.run([sys.executable, "-m", "tests.training.compile_kernels"], cwd=ROOT, env=environment,
                         capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    compiled = set(ran.stdout.split())
    assert compiled == {name for name, value in vars(kernels).items()
                        if type(value).__name__ == "InterpretedFunction" and name != "_rounded"}
