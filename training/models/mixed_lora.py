"""Several LoRA adapters on one base, a different one for each row of a batch, or none.

The base's product is made once for all rows. The adapters in use stand side by side as one of larger rank, and a mask
keeps of its inner values those of each row's own adapter:

    y = W x + [s1 B1, s2 B2, ...] (mask * ([A1; A2; ...] x))

so a step has two products more per layer, however many adapters are in it. What the mask removes is zero exactly, so a
row is computed as if it were alone. Matrices are in the base's dtype. Left out: DoRA, and adapters on the experts of a
mixture, whose rows are no longer in the order of the batch (`can_mix`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.nn.functional import linear

from training.errors import ModelUnavailable
from training.models.language_model import LanguageModel, load_adapter

Policy = Path | None
"""The folder of an adapter; None for the base alone."""

MOST_ADAPTERS = 16
"""On one base; each takes as much memory as its file."""


class MixedLora:
    """The adapters that were loaded on a base, and those that the next pass uses.

    Attributes:
        language: the base, with the adapters' layers once there is one.
        mask: which inner values each row keeps, [rows, 1, ranks]; None where no row has an adapter.
    """

    def __init__(self, language: LanguageModel) -> None:
        self.language = language
        self.mask: Tensor | None = None
        self._names: dict[Path, str] = {}
        self._tries = 0
        self._beside: tuple[Path, ...] = ()  # the adapters that stand side by side in the layers
        self._ranks: list[int] = []

    def __contains__(self, policy: Policy) -> bool:
        return policy is None or policy in self._names

    def load(self, folder: Path, in_use: Iterable[Policy] = ()) -> None:
        """Load an adapter, if it is not there. Nothing may be computed meanwhile: it changes the model's layers.

        Args:
            in_use: adapters that must stay; of the others the oldest goes where there are `MOST_ADAPTERS`.

        Raises:
            ModelUnavailable: it cannot be read or belongs to another base.
        """
        if folder in self._names:
            return
        idle = [other for other in self._names if other not in set(in_use)]
        if len(self._names) >= MOST_ADAPTERS and idle:
            self.language.adapter.delete_adapter(self._names.pop(idle[0]))
        self._tries += 1  # what is left of an adapter that could not be loaded keeps its name
        name = f"policy{self._tries}"
        try:
            self.language = load_adapter(self.language, folder, name=name)
        finally:
            for layer in self._layers():
                layer.forward = partial(_forward, layer, self)
        if any(layer.use_dora.get(name) or layer.lora_bias.get(name) for layer in self._layers()):
            raise ModelUnavailable("The adapter is no plain LoRA: it has biases or magnitudes.",
                                   "Train the policy again.")
        self._names[folder] = name

    def gather(self, policies: Iterable[Policy]) -> None:
        """Put the adapters of all rows side by side, before the passes that `use` them."""
        adapters = tuple(sorted({policy for policy in policies if policy is not None}))
        if adapters != self._beside:
            self._put_beside(adapters)

    def use(self, policies: Sequence[Policy]) -> None:
        """Whose adapter each row of the next pass has; they were gathered."""
        self.mask = None
        if any(policies):
            columns = torch.tensor(self._ranks)
            mask = torch.tensor([[float(policy == adapter) for adapter in self._beside] for policy in policies],
                                dtype=self.language.model.dtype).repeat_interleave(columns, dim=1)
            self.mask = mask.unsqueeze(1).to(self.language.device)

    def _layers(self) -> list[Any]:
        return [module for module in self.language.model.modules() if isinstance(module, LoraLayer)]

    @torch.no_grad()
    def _put_beside(self, adapters: tuple[Path, ...]) -> None:
        layers, names = self._layers(), [self._names[adapter] for adapter in adapters]
        ranks = [max(layer.r.get(name, 0) for layer in layers) for name in names]  # a pattern may give a layer less
        for layer in layers:
            layer.beside = _side_by_side(layer, names, ranks)
        self._beside, self._ranks = adapters, ranks


def can_mix(model: Any) -> bool:
    """Whether rows may have different adapters: not where experts are modules, which get rows in their own order."""
    return not any(".experts." in f".{name}." and hasattr(module, "weight") for name, module in model.named_modules())


def _side_by_side(layer: Any, names: Sequence[str], ranks: Sequence[int]) -> tuple[Tensor, Tensor]:
    """([ranks, inputs], [outputs, ranks]) of a layer, scaled; zeros for an adapter that leaves the layer out."""
    weight = layer.get_base_layer().weight
    a = weight.new_zeros(sum(ranks), layer.in_features)
    b = weight.new_zeros(layer.out_features, sum(ranks))
    start = 0
    for name, rank in zip(names, ranks, strict=True):
        if name in layer.lora_A:
            own = layer.r[name]
            a[start:start + own] = layer.lora_A[name].weight
            b[:, start:start + own] = layer.lora_B[name].weight * layer.scaling[name]
        start += rank
    return a, b


def _forward(layer: Any, mixed: MixedLora, x: Tensor, *_: Any, **__: Any) -> Tensor:
    """A layer's output; in place of peft's own forward, for the adapters that `mixed` has in use."""
    y: Tensor = layer.get_base_layer()(x)
    if mixed.mask is None:
        return y
    if x.shape[0] % len(mixed.mask):
        raise RuntimeError(f"A layer got {x.shape[0]} rows where the batch has {len(mixed.mask)}.")
    a, b = layer.beside
    inner = linear(x, a).view(len(mixed.mask), -1, len(a)) * mixed.mask
    return y.view(-1, y.shape[-1]).addmm_(inner.view(-1, len(a)), b.T).view_as(y)
