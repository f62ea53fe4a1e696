"""A LoRA adapter fused into its base weights, with gradients: one product per layer where peft's own forward takes
three.

LoRA (arXiv 2106.09685) adds s B A x to W x. While the policy is trained A and B change at optimizer steps only, so
W' = W + s B A is made once per step, and both passes over the tokens use it:

    forward    y = W' x
    backward   dx = W'^T dy,   dB = s dy (A x)^T,   dA = s (B^T dy) x^T

which are the same gradients as those of the separate products, up to rounding. Only x is saved for the backward pass.
It costs one copy of the adapted weights, and the refresh at each step costs as much as r more tokens.

That is for a base in fp32: a bf16 weight would swallow a small adapter's change. Beside a bf16 base the adapter stays a
product of its own, y = W x + s B (A x), with A and B rounded to bf16 once per refresh as mixed precision does (the
optimizer's stay fp32); peft computes it in fp32 with a cast of x on the way in and of the sum on the way out, twice the
launches.

With dropout (preference models) the sum can be made beforehand no more: y = W x + s B A (m x) / (1 - p). The adapter is
a product of its own then, the mask is kept as one byte an element where peft keeps m x itself, and it is drawn from 16
random bits an element. Left out: DoRA, several adapters at once, layers other than nn.Linear (GPT-2's); all those keep
peft's forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from training.models.language_model import LanguageModel, lora_layers


class _FusedLinear(torch.autograd.Function):
    """x -> W' x + bias, whose gradients go to x, A and B; W' itself is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale = scale
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        dy = gradients[0].flatten(0, -2)
        flat = x.flatten(0, -2)
        dx = (dy @ weight).view_as(x) if ctx.needs_input_grad[0] else None
        da = ((dy @ b).T @ flat).mul_(ctx.scale)
        db = (dy.T @ (flat @ a.T)).mul_(ctx.scale)
        return dx, None, None, da, db, None


class _AddedLinear(torch.autograd.Function):
    """x -> W x + bias + s B A x in the dtype of W, by the rounded A and B; gradients go to x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, rounded_a: Tensor,
                rounded_b: Tensor, scale: float) -> Tensor:
        inner = linear(x, rounded_a)
        y = linear(x, weight, bias)
        y.view(-1, y.shape[-1]).addmm_(inner.view(-1, inner.shape[-1]), rounded_b.T, alpha=scale)
        ctx.save_for_backward(x, inner, weight, rounded_a, rounded_b)
        ctx.scale, ctx.dtype = scale, a.dtype
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, weight, a, b = ctx.saved_tensors
        dy = gradients[0].flatten(0, -2)
        d_inner = dy @ b
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight).addmm_(d_inner, a, alpha=ctx.scale).view_as(x)
        da = (d_inner.T @ x.flatten(0, -2)).to(ctx.dtype).mul_(ctx.scale)
        db = (dy.T @ inner.flatten(0, -2)).to(ctx.dtype).mul_(ctx.scale)
        return dx, None, None, da, db, None, None, None


class _DroppedLinear(torch.autograd.Function):
    """x -> W x + bias + s B A (m x) / (1 - p) in the dtype of W; m is drawn here, and gradients go to x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, rounded_a: Tensor,
                rounded_b: Tensor, scale: float, dropout: float) -> Tensor:
        mask, kept_share = draw_mask(x, dropout)
        inner = linear(x * mask, rounded_a)
        y = linear(x, weight, bias)
        ctx.scale, ctx.dtype = scale / kept_share, a.dtype
        y.view(-1, y.shape[-1]).addmm_(inner.view(-1, inner.shape[-1]), rounded_b.T, alpha=ctx.scale)
        ctx.save_for_backward(x, mask, inner, weight, rounded_a, rounded_b)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mask, inner, weight, a, b = ctx.saved_tensors
        dy = gradients[0].flatten(0, -2)
        d_inner = dy @ b
        dx = None
        if ctx.needs_input_grad[0]:
            through = (d_inner @ a).mul_(mask.flatten(0, -2))
            dx = (dy @ weight).add_(through, alpha=ctx.scale).view_as(x)
        da = (d_inner.T @ (x * mask).flatten(0, -2)).to(ctx.dtype).mul_(ctx.scale)
        db = (dy.T @ inner.flatten(0, -2)).to(ctx.dtype).mul_(ctx.scale)
        return dx, None, None, da, db, None, None, None, None


def draw_mask(x: Tensor, dropout: float) -> tuple[Tensor, float]:
    """Which elements of x are kept, and how large a share that is expected to be: 1 - dropout to within 2^-16."""
    dropped = min(2**16 - 1, round(dropout * 2**16))
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    return (bits.view(torch.int16)[:x.numel()] >= dropped - 2**15).view(x.shape), 1 - dropped / 2**16


@contextmanager
def fused_lora(language: LanguageModel) -> Iterator[Callable[[], None]]:
    """Within it the adapter is fused; call the yielded `refresh` after each change of the adapter's weights.

    `language_model.reference` still switches the adapter off within it. Do not use `language_model.merged` within it.
    """
    with fused_layers([layer for layer in lora_layers(language) if can_fuse(layer)]) as refresh:
        yield refresh


@contextmanager
def fused_layers(layers: Sequence[Any], sum_weights: bool = True) -> Iterator[Callable[[], None]]:
    """`fused_lora` for layers of peft that `can_fuse`.

    Args:
        sum_weights: False: no copy of the weights; an fp32 adapter is a product of its own too.
    """
    for layer in layers:
        layer.forward = partial(_forward, layer)  # the instance's own; removed below

    @torch.no_grad()
    def refresh() -> None:
        for layer in layers:
            name = layer.active_adapters[0]
            a, b, weight = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.get_base_layer().weight
            if sum_weights and weight.dtype == torch.float32 and not _dropout(layer):
                layer.fused_weight = torch.addmm(weight, b, a, alpha=layer.scaling[name])
            else:
                layer.rounded = a.to(weight.dtype), b.to(weight.dtype)

    try:
        refresh()
        yield refresh
    finally:
        for layer in layers:
            del layer.forward
            for name in ("fused_weight", "rounded"):
                layer.__dict__.pop(name, None)


def _forward(layer: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
    base = layer.get_base_layer()
    if layer.disable_adapters:
        return linear(x, base.weight, base.bias)
    name = layer.active_adapters[0]
    weights = layer.lora_A[name].weight, layer.lora_B[name].weight
    output: Tensor
    if "fused_weight" in layer.__dict__:
        output = _FusedLinear.apply(x, layer.fused_weight, base.bias, *weights, layer.scaling[name])
    elif layer.training and _dropout(layer):
        output = _DroppedLinear.apply(x, base.weight, base.bias, *weights, *layer.rounded, layer.scaling[name],
                                      _dropout(layer))
    else:
        output = _AddedLinear.apply(x, base.weight, base.bias, *weights, *layer.rounded, layer.scaling[name])
    return output


def _dropout(layer: Any) -> float:
    return float(getattr(layer.lora_dropout[layer.active_adapters[0]], "p", 0.0))


def can_fuse(layer: Any, with_dropout: bool = False) -> bool:
    """Whether a layer of peft can be fused here; one with dropout only where the caller wants it so."""
    base, names = layer.get_base_layer(), layer.active_adapters
    if type(base) is not nn.Linear or len(names) != 1 or layer.merged_adapters:
        return False
    name = names[0]
    if _dropout(layer) and not with_dropout:
        return False
    plain = not layer.lora_bias[name] and not layer.use_dora[name]
    return plain and base.weight.dtype in (torch.float32, torch.bfloat16) and (
        layer.lora_A[name].weight.dtype == torch.float32)
