"""A trunk split in two: the layers that several preference models share are computed once, the rest for each model.

Both halves are the trunk itself with other layers in it, so masks and positions are made by the model's own code,
whatever its architecture. Below the cut the layers are the base's; the hidden states that come out are fed in again
above it. The adapters above the cut are either merged into copies of the layers, or stacked: rows of all principles go
through the base's matrices together, and each principle's rows through its own pair of low rank by one batched product.

A trunk whose upper layers read more of the lower ones than their output (keys that layers share) is not split:
`splits_exactly` measures it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import is_out_of_memory
from training.models.loaded_shape import decoder_config

_OTHER_PART = re.compile("vision|visual|image|audio|speech")


def decoder_layers(trunk: Any) -> tuple[str, nn.ModuleList]:
    """Where the layers of a trunk's text model are, and they; the first list that has as many as its configuration
    says, but none of a tower for pictures or sound."""
    count = decoder_config(trunk).num_hidden_layers
    return next((name, module) for name, module in trunk.named_modules()
                if isinstance(module, nn.ModuleList) and len(module) == count and not _OTHER_PART.search(name))


class SplitContext:
    """Shared state of a split trunk: the hidden states at the cut, and which principles' rows are being computed."""

    def __init__(self) -> None:
        self.hidden: Tensor | None = None
        self.group = slice(0, 1)


class _CutReached(Exception):  # noqa: N818 - control flow: ends the lower half
    """The hidden states at the cut are computed."""


class _LayerProxy(nn.Module):
    """Takes the place of a layer; every attribute but `forward` is the layer's own."""

    def __init__(self, layer: nn.Module, context: SplitContext, gives_tuple: bool) -> None:
        super().__init__()
        self.__dict__["_layer"], self.__dict__["_context"] = layer, context  # not as submodules
        self._gives_tuple = gives_tuple

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_layer"], name)


class _StopHere(_LayerProxy):
    """Ends the lower half: saves the hidden states and stops the forward pass."""

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Any:
        self._context.hidden = hidden
        raise _CutReached


class _Replay(_LayerProxy):
    """A layer of the upper half that lies below the cut: replays the saved hidden states."""

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Any:
        return (self._context.hidden,) if self._gives_tuple else self._context.hidden


class SplitTrunk:
    """The lower half of a trunk, run once per batch, and upper halves that continue from it.

    Args:
        trunk: a decoder in evaluation mode.
        cut: layers below the cut; 0: the lower half is empty.
    """

    def __init__(self, trunk: Any, cut: int) -> None:
        self._trunk, self.cut, self.context = trunk, cut, SplitContext()
        self._path, layers = decoder_layers(trunk)
        self._gives_tuple = cut > 0 and _gives_tuple(trunk, layers[0])
        self._lower = self._with([*layers[:cut], *(_StopHere(layer, self.context, False) for layer in layers[cut:])])

    def lower(self, ids: Tensor, mask: Tensor) -> None:
        """Run the layers below the cut on ids and mask [rows, tokens]; `upper` continues from there."""
        self.context.hidden = None
        if self.cut:
            try:
                self._lower(input_ids=ids, attention_mask=mask, use_cache=False)
            except _CutReached:
                return

    def upper(self, layers: Iterable[nn.Module]) -> Any:
        """The trunk with these layers above the cut; called like a trunk, on the rows that `lower` has seen."""
        below = decoder_layers(self._trunk)[1][:self.cut]
        return self._with([*(_Replay(layer, self.context, self._gives_tuple) for layer in below), *layers])

    def _with(self, layers: Iterable[nn.Module]) -> Any:
        """The trunk with other layers: only the modules on the path to them are copied."""
        new_trunk = _shallow(self._trunk)
        *parents, last = self._path.split(".")
        at = new_trunk
        for name in parents:
            at._modules[name] = _shallow(at._modules[name])
            at = at._modules[name]
        at._modules[last] = nn.ModuleList(layers)
        return new_trunk.eval()


@torch.no_grad()
def splits_exactly(trunk: Any, cut: int) -> bool:
    """Whether both halves of a trunk give what the whole trunk gives: measured on a few tokens."""
    if not cut:
        return True
    tokens = torch.arange(1, 6, device=next(trunk.parameters()).device)[None]
    mask = torch.ones_like(tokens)
    plain = trunk(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state.float()
    try:
        split = SplitTrunk(trunk, cut)
        split.lower(tokens, mask)
        upper = split.upper(decoder_layers(trunk)[1][cut:])
        halves = upper(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state.float()
    except Exception as error:  # a family whose upper layers need more of the lower ones may fail in any way
        if is_out_of_memory(error):
            raise
        return False
    return bool((halves - plain).abs().max() <= 1e-2 * plain.abs().max())


class StackedLinear(nn.Module):
    """A linear map of a base with the low-rank additions of several principles.

    Rows [group * batch, ...] come in with all rows of one principle together: y = W x + B_k A_k x.

    Args:
        base: the map that all share.
        a: [principle, rank, in], rows of zeros where an adapter has a lower rank.
        b: [principle, out, rank], scaled already.
        context: says which principles' rows go through.
    """

    def __init__(self, base: nn.Module, a: Tensor, b: Tensor, context: SplitContext) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(a.transpose(1, 2).contiguous(), requires_grad=False)
        self.up = nn.Parameter(b.transpose(1, 2).contiguous(), requires_grad=False)
        self.context = context

    def forward(self, x: Tensor) -> Tensor:
        down, up = self.down[self.context.group], self.up[self.context.group]
        output: Tensor = self.base(x)
        low = torch.bmm(x.reshape(len(down), -1, x.shape[-1]), down)
        rows = output.reshape(len(down), -1, output.shape[-1])
        return torch.baddbmm(rows, low, up).view(output.shape)


def stack_adapters(trunk: nn.Module, names: Sequence[str], context: SplitContext) -> None:
    """Replace every map that peft has wrapped by a `StackedLinear`, its adapters in the order of `names`."""
    from peft.tuners.lora import LoraLayer

    for name, wrapped in [(name, module) for name, module in trunk.named_modules() if isinstance(module, LoraLayer)]:
        parent, _, last = name.rpartition(".")
        setattr(trunk.get_submodule(parent), last, _stacked(wrapped, names, context))


def _stacked(wrapped: Any, names: Sequence[str], context: SplitContext) -> StackedLinear:
    base = wrapped.get_base_layer()
    rank = max(wrapped.r.values())
    weight = base.weight
    a = weight.new_zeros(len(names), rank, wrapped.in_features)
    b = weight.new_zeros(len(names), wrapped.out_features, rank)
    for index, name in enumerate(names):
        if name in wrapped.lora_A:
            r = wrapped.r[name]
            a[index, :r] = wrapped.lora_A[name].weight.detach().to(weight.dtype)
            b[index, :, :r] = (wrapped.lora_B[name].weight.detach() * wrapped.scaling[name]).to(weight.dtype)
    return StackedLinear(base, a, b, context)


def groups(principles: int, tokens: int, tokens_at_once: int) -> Iterator[slice]:
    """The principles in groups with at most so many tokens together, at least one principle per group.

    Args:
        tokens: of all rows of one principle.
    """
    many = max(1, tokens_at_once // tokens)
    for start in range(0, principles, many):
        yield slice(start, min(start + many, principles))


def _shallow(module: Any) -> Any:
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied


@torch.no_grad()
def _gives_tuple(trunk: Any, layer: nn.Module) -> bool:
    """Whether the layers of a trunk return a tuple, measured on one token."""
    is_tuple: list[bool] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: is_tuple.append(isinstance(output, tuple)))
    device = next(trunk.parameters()).device
    token = torch.ones(1, 1, dtype=torch.long, device=device)
    trunk(input_ids=token, attention_mask=token, use_cache=False)
    hook.remove()
    return is_tuple[0]
