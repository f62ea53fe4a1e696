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
launches. Left out: DoRA, dropout, several adapters at once, layers other than nn.Linear (GPT-2's); all those keep
peft's forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@contextmanager
def fused_lora(language: LanguageModel) -> Iterator[Callable[[], None]]:
    """Within it the adapter is fused; call the yielded `refresh` after each change of the adapter's weights.

    `language_model.reference` still switches the adapter off within it. Do not use `language_model.merged` within it.
    """
    layers = [layer for layer in lora_layers(language) if _can_fuse(layer)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # the instance's own; removed below

    @torch.no_grad()
    def refresh() -> None:
        for layer in layers:
            name = layer.active_adapters[0]
            a, b, weight = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.get_base_layer().weight
            if weight.dtype == torch.float32:
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
    if base.weight.dtype == torch.float32:
        output = _FusedLinear.apply(x, layer.fused_weight, base.bias, *weights, layer.scaling[name])
    else:
        output = _AddedLinear.apply(x, base.weight, base.bias, *weights, *layer.rounded, layer.scaling[name])
    return output


def _can_fuse(layer: Any) -> bool:
    base, names = layer.get_base_layer(), layer.active_adapters
    if type(base) is not nn.Linear or len(names) != 1 or layer.merged_adapters:
        return False
    name = names[0]
    plain = isinstance(layer.lora_dropout[name], nn.Identity) and not layer.lora_bias[name] and not layer.use_dora[name]
    return plain and base.weight.dtype in (torch.float32, torch.bfloat16) and (
        layer.lora_A[name].weight.dtype == torch.float32)
