"""A LoRA adapter fused into its base weights, with gradients: one product per layer where peft's own forward takes
three.

LoRA (arXiv 2106.09685) adds s B A x to W x. While the policy is trained A and B change at optimizer steps only, so
W' = W + s B A is made once per step, and both passes over the tokens use it:

    forward    y = W' x
    backward   dx = W'^T dy,   dB = s dy (A x)^T,   dA = s (B^T dy) x^T

which are the same gradients as those of the separate products, up to rounding. Only x is saved for the backward pass.
It costs one copy of the adapted weights, and the refresh at each step costs as much as r more tokens.

Only where base and adapter are both fp32: a bf16 weight would swallow a small adapter's change. Left out: DoRA,
dropout, several adapters at once, layers other than nn.Linear (GPT-2's); all those keep peft's forward.
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


@contextmanager
def fused_lora(language: LanguageModel) -> Iterator[Callable[[], None]]:
    """Within it the adapter is fused; call the yielded `refresh` after each change of the adapter's weights.

    `models.reference` still switches the adapter off within it. Do not use `models.merged` within it.
    """
    layers = [layer for layer in lora_layers(language) if _can_fuse(layer)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # the instance's own; removed below

    @torch.no_grad()
    def refresh() -> None:
        for layer in layers:
            name = layer.active_adapters[0]
            a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
            layer.fused_weight = torch.addmm(layer.get_base_layer().weight, b, a, alpha=layer.scaling[name])

    try:
        refresh()
        yield refresh
    finally:
        for layer in layers:
            del layer.forward
            layer.__dict__.pop("folded_weight", None)


def _forward(layer: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
    base = layer.get_base_layer()
    if layer.disable_adapters:
        return linear(x, base.weight, base.bias)
    name = layer.active_adapters[0]
    weights = layer.lora_A[name].weight, layer.lora_B[name].weight
    output: Tensor = _FusedLinear.apply(x, layer.fused_weight, base.bias, *weights, layer.scaling[name])
    return output


def _can_fuse(layer: Any) -> bool:
    base, names = layer.get_base_layer(), layer.active_adapters
    if type(base) is not nn.Linear or len(names) != 1 or layer.merged_adapters:
        return False
    name = names[0]
    plain = isinstance(layer.lora_dropout[name], nn.Identity) and not layer.lora_bias[name] and not layer.use_dora[name]
    return plain and base.weight.dtype == layer.lora_A[name].weight.dtype == torch.float32
