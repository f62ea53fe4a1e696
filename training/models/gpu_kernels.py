"""Triton kernels for what a GPU would otherwise do in many small steps: log-probabilities and entropies, rotary
positions, gated activations.

Imported on a machine with CUDA only (Triton comes with torch there). Under `TRITON_INTERPRET=1` they run on a CPU,
which is how the tests compare them with plain torch.

Results are rounded to the tensor's dtype where the plain operations round theirs. What is left of differences are sums
over a row of logits, which are made in another order, and products that a GPU adds without rounding them (1e-7).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

LEAST = tl.constexpr(-3e38)
"""Below every logit but those that are minus infinity, and finite, so that differences are numbers."""

VOCABULARY_BLOCK = 4096
"""Logits that a program holds at a time."""


@triton.jit
def _row_statistics(logits, row_stride, tokens_of_rows, logprobs, entropies, log_totals, scale, columns: tl.constexpr,
                    BLOCK: tl.constexpr) -> None:
    """One row: its largest value, sum of exponents and sum of z exp(z), each corrected as the largest changes."""
    row = tl.program_id(0).to(tl.int64)
    start = logits + row * row_stride
    largest = LEAST
    total = 0.0
    weighted = 0.0
    for first in range(0, columns, BLOCK):
        offsets = first + tl.arange(0, BLOCK)
        z = tl.load(start + offsets, mask=offsets < columns, other=float("-inf")).to(tl.float32) * scale
        new_largest = tl.maximum(largest, tl.max(z, axis=0))
        factor = tl.exp(largest - new_largest)
        p = tl.exp(z - new_largest)
        shift = tl.where(total > 0, (new_largest - largest) * total, 0.0)
        weighted = (weighted - shift) * factor + tl.sum(tl.where(p > 0, p * (z - new_largest), 0.0), axis=0)
        total = total * factor + tl.sum(p, axis=0)
        largest = new_largest
    log_total = tl.log(total)
    chosen = tl.load(start + tl.load(tokens_of_rows + row)).to(tl.float32) * scale
    tl.store(logprobs + row, chosen - largest - log_total)
    tl.store(entropies + row, log_total - weighted / total)
    tl.store(log_totals + row, largest + log_total)


@triton.jit
def _row_gradient(logits, row_stride, tokens_of_rows, log_totals, gradients, scale, columns: tl.constexpr,
                  BLOCK: tl.constexpr) -> None:
    """Overwrites a block of a row's logits with their gradient, g / T (1[token] - p)."""
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < columns
    pointers = logits + row * row_stride + offsets
    gradient = tl.load(gradients + row) * scale
    z = tl.load(pointers, mask=inside, other=0.0).to(tl.float32) * scale
    p = tl.exp(z - tl.load(log_totals + row))
    chosen = (offsets == tl.load(tokens_of_rows + row)).to(tl.float32)
    tl.store(pointers, (gradient * (chosen - p)).to(logits.dtype.element_ty), mask=inside)


class TokenStatistics(torch.autograd.Function):
    """`token_statistics` of logits [rows, vocabulary] and tokens [rows]: log-probabilities and entropies, fp32 [rows].

    Nothing of the logits' size is made: the backward pass overwrites them with their gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        rows, columns = logits.shape
        logprobs, entropies, log_totals = (torch.empty(rows, device=logits.device) for _ in range(3))
        _row_statistics[(rows,)](logits, logits.stride(0), tokens, logprobs, entropies, log_totals,
                                 1 / temperature, columns=columns, BLOCK=VOCABULARY_BLOCK, num_warps=8)
        ctx.save_for_backward(logits, tokens, log_totals)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        logits, tokens, log_totals = ctx.saved_tensors
        logits = logits.detach()
        rows, columns = logits.shape
        grid = (rows, triton.cdiv(columns, VOCABULARY_BLOCK))
        _row_gradient[grid](logits, logits.stride(0), tokens, log_totals, gradients[0].contiguous(),
                            1 / ctx.temperature, columns=columns, BLOCK=VOCABULARY_BLOCK, num_warps=8)
        return logits, None, None


@triton.jit
def _rounded(x, y, dtype: tl.constexpr) -> Any:
    return (x * y).to(dtype).to(tl.float32)


FEW_TOKENS = 1024
"""Up to so many, as in decoding, each head has a program of its own; of more the heads of a token share one, which
reads the angles once: 13 instead of 60 microseconds for 6,144 tokens."""


@triton.jit
def _rotate(q, q_batch, q_head, q_token, k, k_batch, k_head, k_token, cos, sin, angle_batch, angle_token, q_out, k_out,
            tokens, q_heads: tl.constexpr, k_heads: tl.constexpr, half: tl.constexpr, HALF: tl.constexpr,
            HEADS: tl.constexpr, BACKWARD: tl.constexpr) -> None:
    """Some heads of one token: the queries', and behind them the keys'."""
    program, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * HEADS
    batch, token = program // tokens, program % tokens
    offsets = tl.arange(0, HALF)
    inside = offsets < half
    angle = batch * angle_batch + token * angle_token + offsets
    cos_1 = tl.load(cos + angle, mask=inside, other=0.0).to(tl.float32)
    cos_2 = tl.load(cos + angle + half, mask=inside, other=0.0).to(tl.float32)
    sin_1 = tl.load(sin + angle, mask=inside, other=0.0).to(tl.float32)
    sin_2 = tl.load(sin + angle + half, mask=inside, other=0.0).to(tl.float32)
    dtype: tl.constexpr = q.dtype.element_ty
    for number in range(HEADS):
        head = first + number
        if head < q_heads:
            start = q + batch * q_batch + head * q_head + token * q_token
            end = q_out + ((batch * q_heads + head) * tokens + token) * 2 * half
        else:
            start = k + batch * k_batch + (head - q_heads) * k_head + token * k_token
            end = k_out + ((batch * k_heads + head - q_heads) * tokens + token) * 2 * half
        x_1 = tl.load(start + offsets, mask=inside, other=0.0).to(tl.float32)
        x_2 = tl.load(start + half + offsets, mask=inside, other=0.0).to(tl.float32)
        if BACKWARD:
            y_1 = _rounded(x_1, cos_1, dtype) + _rounded(x_2, sin_2, dtype)
            y_2 = _rounded(x_2, cos_2, dtype) - _rounded(x_1, sin_1, dtype)
        else:
            y_1 = _rounded(x_1, cos_1, dtype) - _rounded(x_2, sin_1, dtype)
            y_2 = _rounded(x_2, cos_2, dtype) + _rounded(x_1, sin_2, dtype)
        tl.store(end + offsets, y_1.to(dtype), mask=inside)
        tl.store(end + half + offsets, y_2.to(dtype), mask=inside)


def _rotated(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, backward: bool) -> tuple[Tensor, Tensor]:
    batch, q_heads, tokens, width = q.shape
    k_heads, half = k.shape[1], width // 2
    q_out, k_out = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k))
    heads = 1 if batch * tokens <= FEW_TOKENS else q_heads + k_heads
    _rotate[(batch * tokens, (q_heads + k_heads) // heads)](
        q, q.stride(0), q.stride(1), q.stride(2), k, k.stride(0), k.stride(1), k.stride(2), cos, sin, cos.stride(0),
        cos.stride(1), q_out, k_out, tokens, q_heads, k_heads, half, HALF=triton.next_power_of_2(half), HEADS=heads,
        BACKWARD=backward, num_warps=1)
    return q_out, k_out


class Rotary(torch.autograd.Function):
    """Queries and keys, [batch, heads, tokens, width], turned by the angles of their positions.

    cos and sin are [batch, tokens, width]; all four have a last dimension without gaps.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        return _rotated(q, k, cos, sin, backward=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        dq, dk = (gradient if gradient.stride(-1) == 1 else gradient.contiguous() for gradient in gradients)
        return *_rotated(dq, dk, cos, sin, backward=True), None, None


@triton.jit
def _silu_product(gate, up, out, count, BLOCK: tl.constexpr) -> None:
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < count
    dtype: tl.constexpr = gate.dtype.element_ty
    g = tl.load(gate + offsets, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + offsets, mask=inside, other=0.0).to(tl.float32)
    activated = (g / (1 + tl.exp(-g))).to(dtype).to(tl.float32)
    tl.store(out + offsets, (activated * u).to(dtype), mask=inside)


@triton.jit
def _silu_product_gradients(gradient, gate, up, gate_out, up_out, count, BLOCK: tl.constexpr) -> None:
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < count
    dtype: tl.constexpr = gate.dtype.element_ty
    d = tl.load(gradient + offsets, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(gate + offsets, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + offsets, mask=inside, other=0.0).to(tl.float32)
    sigmoid = 1 / (1 + tl.exp(-g))
    activated = (g * sigmoid).to(dtype).to(tl.float32)
    inner = (d * u).to(dtype).to(tl.float32)
    tl.store(up_out + offsets, (d * activated).to(dtype), mask=inside)
    tl.store(gate_out + offsets, (inner * sigmoid * (1 + g * (1 - sigmoid))).to(dtype), mask=inside)


ELEMENTS = 1024
"""That one program of an elementwise kernel takes."""


class SiluProduct(torch.autograd.Function):
    """silu(gate) * up, of tensors of one shape; what is between is neither stored nor kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        out = torch.empty_like(gate)
        _silu_product[(triton.cdiv(gate.numel(), ELEMENTS),)](gate, up, out, gate.numel(), BLOCK=ELEMENTS)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        gate_out, up_out = torch.empty_like(gate), torch.empty_like(up)
        _silu_product_gradients[(triton.cdiv(gate.numel(), ELEMENTS),)](
            gradients[0].contiguous(), gate, up, gate_out, up_out, gate.numel(), BLOCK=ELEMENTS)
        return gate_out, up_out
