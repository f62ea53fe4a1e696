"""A LoRA adapter fused into its base weights, with gradients: one product per layer where peft's own forward takes
three.

LoRA (arXiv 2106.09685) adds s B A x to W x. While the policy is trained A and B change at optimizer steps only, so
W' = W + s B A is made once per step, and both passes over the tokens use it:

    forward    y = W' x
    backward   dx = W'^T dy,   dB = s dy (A x)^T,   dA = s (B^T dy) x^T

which are the same gradients as those of the separate products, up to rounding. Only x is saved for the backward pass.
It costs one copy of the adapted weights, and the refresh at each step costs as much as r more tokens.

That is for a base in fp32: a bf16 weight would swallow a small adapter's change. Beside a bf16 base the adapter stays a
product of its own, y = W x + s B (A x), with A and s B rounded to bf16 once per refresh as mixed precision does (the
optimizer's stay fp32). Layers that read the same x (queries, keys and values; gate and up) are one function: A x of all
of them is one product, and so are their dA. On a GPU what counts is launches: a layer of Llama takes some 100 in
learning this way and 150 with a function for each map; peft's own forward casts x to fp32 and the sum back as well.

With dropout (preference models) the sum can be made beforehand no more: y = W x + s B A (m x) / (1 - p). The adapter is
a product of its own then, the mask is kept as one byte an element where peft keeps m x itself, and it is drawn from 16
random bits an element. Left out: DoRA, several adapters at once, layers other than nn.Linear (GPT-2's); all those keep
peft's forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

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


class _AddedLinears(torch.autograd.Function):
    """x -> W x + bias + s B A x in the dtype of W, for n layers that read the same x; gradients go to x, each A and B.

    Args:
        scales: s of each layer.
        rounded_a: the layers' A one below another, [ranks, inputs], in the dtype of W.
        tensors: n each of W, bias, A, B, and of s B in the dtype of W.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: tuple[float, ...], rounded_a: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        count = len(scales)
        weights, biases, a, _, rounded_b = (tensors[start:start + count] for start in range(0, 5 * count, count))
        ranks = [len(matrix) for matrix in a]
        inner = linear(x, rounded_a).flatten(0, -2)
        outputs = []
        for weight, bias, b, part in zip(weights, biases, rounded_b, inner.split(ranks, dim=1), strict=True):
            y = linear(x, weight, bias)
            y.view(-1, y.shape[-1]).addmm_(part, b.T)
            outputs.append(y)
        ctx.save_for_backward(x, inner, rounded_a, *weights, *rounded_b)
        ctx.scales, ctx.ranks, ctx.dtype = scales, ranks, a[0].dtype
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, rounded_a, *matrices = ctx.saved_tensors
        count = len(ctx.scales)
        weights, rounded_b = matrices[:count], matrices[count:]
        dy = [gradient.flatten(0, -2) for gradient in gradients]
        parts = [gradient @ b for gradient, b in zip(dy, rounded_b, strict=True)]
        d_inner = parts[0] if count == 1 else torch.cat(parts, dim=1)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy[0] @ weights[0]
            for gradient, weight in zip(dy[1:], weights[1:], strict=True):
                dx.addmm_(gradient, weight)
            dx = dx.addmm_(d_inner, rounded_a).view_as(x)
        da = _product(d_inner.T, x.flatten(0, -2), ctx.dtype).split(ctx.ranks)
        db = [_product(gradient.T, part, ctx.dtype).mul_(scale)
              for gradient, part, scale in zip(dy, inner.split(ctx.ranks, dim=1), ctx.scales, strict=True)]
        nothing = (None,) * count
        return dx, None, None, *nothing, *nothing, *da, *db, *nothing


def _product(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """a b in the dtype of the optimizer's matrices; a GPU writes its fp32 sums as they are."""
    if a.is_cuda and a.dtype != dtype:
        return torch.mm(a, b, out_dtype=dtype)
    return (a @ b).to(dtype)


class _DroppedLinear(torch.autograd.Function):
    """x -> W x + bias + s B A (m x) / (1 - p) in the dtype of W; m is drawn here, and gradients go to x, A and B.

    `rounded_b` is s B.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, rounded_a: Tensor,
                rounded_b: Tensor, scale: float, dropout: float) -> Tensor:
        mask, kept_share = draw_mask(x, dropout)
        inner = linear(x * mask, rounded_a)
        y = linear(x, weight, bias)
        ctx.scale, ctx.kept_share, ctx.dtype = scale, kept_share, a.dtype
        y.view(-1, y.shape[-1]).addmm_(inner.view(-1, inner.shape[-1]), rounded_b.T, alpha=1 / kept_share)
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
            dx = (dy @ weight).add_(through, alpha=1 / ctx.kept_share).view_as(x)
        da = _product(d_inner.T, (x * mask).flatten(0, -2), ctx.dtype).mul_(1 / ctx.kept_share)
        db = _product(dy.T, inner.flatten(0, -2), ctx.dtype).mul_(ctx.scale / ctx.kept_share)
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
    with fused_layers(language.model, [layer for layer in lora_layers(language) if can_fuse(layer)]) as refresh:
        yield refresh


@contextmanager
def fused_layers(model: nn.Module, layers: Sequence[Any], sum_weights: bool = True) -> Iterator[Callable[[], None]]:
    """`fused_lora` for layers of a model that `can_fuse`.

    Args:
        sum_weights: False: no copy of the weights; an fp32 adapter is a product of its own too.
    """
    summed = [layer for layer in layers
              if sum_weights and layer.get_base_layer().weight.dtype == torch.float32 and not _dropout(layer)]
    groups = _added_layers(model, [layer for layer in layers if layer not in summed])
    for layer in summed:
        layer.forward = partial(_forward, layer)  # the instance's own; removed below
    for group in groups:
        for index, layer in enumerate(group.layers):
            layer.forward = partial(group.forward, index)

    @torch.no_grad()
    def refresh() -> None:
        for layer in summed:
            name = layer.active_adapters[0]
            a, b, weight = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.get_base_layer().weight
            layer.fused_weight = torch.addmm(weight, b, a, alpha=layer.scaling[name])
        if groups:
            rounded, exact, scales = zip(*(part for group in groups for part in group.matrices()), strict=True)
            torch._foreach_copy_(rounded, torch._foreach_mul(exact, scales))  # a few launches for all of them

    try:
        refresh()
        yield refresh
    finally:
        for layer in layers:
            del layer.forward
            layer.__dict__.pop("fused_weight", None)


def _forward(layer: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
    base = layer.get_base_layer()
    if layer.disable_adapters:
        return linear(x, base.weight, base.bias)
    name = layer.active_adapters[0]
    output: Tensor = _FusedLinear.apply(x, layer.fused_weight, base.bias, layer.lora_A[name].weight,
                                        layer.lora_B[name].weight, layer.scaling[name])
    return output


_kept: WeakKeyDictionary[nn.Module, tuple[object, list[AddedLayers]]] = WeakKeyDictionary()


def _added_layers(model: nn.Module, layers: Sequence[Any]) -> list[AddedLayers]:
    """Groups of layers: those of the last time, if they are the same, so that what a CUDA graph reads stays in place.

    They go with the model.
    """
    weights = [(layer, *(matrix.data_ptr() for matrix in layer.parameters())) for layer in layers]
    if model not in _kept or _kept[model][0] != weights:
        _kept[model] = weights, [AddedLayers(members) for members in siblings(model, layers)]
    return _kept[model][1]


class AddedLayers:
    """Layers that read the same x, often one alone, whose adapters stay products of their own.

    All of them are computed when the first is called; the others are called with the same x, which is tried.

    Attributes:
        layers: peft's, in the order in which the model calls them.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = layers
        self._bases = [layer.get_base_layer() for layer in layers]
        self._scales = [layer.scaling[layer.active_adapters[0]] for layer in layers]
        self._a, self._b = ([getattr(layer, side)[layer.active_adapters[0]].weight for layer in layers]
                            for side in ("lora_A", "lora_B"))
        weight = self._bases[0].weight
        self._ranks = [len(a) for a in self._a]
        self._rounded_a = weight.new_empty(sum(self._ranks), weight.shape[1])
        self._rounded_b = [weight.new_empty(b.shape) for b in self._b]
        self._x: Tensor | None = None
        self._outputs: Sequence[Tensor] = ()
        self._together = len(layers) > 1

    def matrices(self) -> list[tuple[Tensor, Tensor, float]]:
        """What is rounded at a refresh, from what, and times what."""
        rounded_a = zip(self._rounded_a.split(self._ranks), self._a, strict=True)
        rounded_b = zip(self._rounded_b, self._b, self._scales, strict=True)
        return [*((rounded, a.data, 1.0) for rounded, a in rounded_a),
                *((rounded, b.data, scale) for rounded, b, scale in rounded_b)]

    def forward(self, index: int, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """The output of one layer, in place of peft's own forward."""
        layer, base = self.layers[index], self._bases[index]
        if layer.disable_adapters:
            return linear(x, base.weight, base.bias)
        if layer.training and _dropout(layer):
            dropped: Tensor = _DroppedLinear.apply(
                x, base.weight, base.bias, self._a[index], self._b[index], self._rounded_a.split(self._ranks)[index],
                self._rounded_b[index], self._scales[index], _dropout(layer))
            return dropped
        if index and self._x is not x:
            self._together = False  # this model gives its layers different tensors
        if not self._together:
            return self._added(x, slice(index, index + 1), self._rounded_a.split(self._ranks)[index])[0]
        if index == 0:
            self._x, self._outputs = x, self._added(x, slice(None), self._rounded_a)
        output = self._outputs[index]
        if index == len(self.layers) - 1:
            self._x, self._outputs = None, ()
        return output

    def _added(self, x: Tensor, members: slice, rounded_a: Tensor) -> tuple[Tensor, ...]:
        bases = self._bases[members]
        outputs: tuple[Tensor, ...] = _AddedLinears.apply(
            x, tuple(self._scales[members]), rounded_a, *(base.weight for base in bases),
            *(base.bias for base in bases), *self._a[members], *self._b[members], *self._rounded_b[members])
        return outputs


SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Maps to which most families give the same x, in the order in which they call them."""


def siblings(model: nn.Module, layers: Sequence[Any]) -> list[list[Any]]:
    """The layers in groups that read the same x, as their names tell; others are groups of one."""
    left = dict.fromkeys(layers)  # in order
    groups: list[list[Any]] = []
    for parent, names in product(model.modules(), SIBLINGS):
        members: list[Any] = [getattr(parent, name, None) for name in names]
        if all(member in left for member in members) and len({_dropout(member) for member in members}) == 1:
            groups.append(members)
            for member in members:
                del left[member]
    return groups + [[layer] for layer in left]


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
