"""Several LoRA adapters on one base, a different one for each row of a batch, a weighted sum of some, or none.

The base's product is made once for all rows. The adapters in use stand side by side as one of larger rank, and a mask
keeps of its inner values those of each row's own adapter:

    y = W x + [s1 B1, s2 B2, ...] (mask * ([A1; A2; ...] x))

so a step has two products more per layer, however many adapters are in it. What the mask removes is zero exactly, so a
row is computed as if it were alone. A soup (arXiv 2306.04488) keeps the values of each of its adapters times a weight,
so other weights cost nothing and no adapter is made of them (`policy_mix` makes one). Matrices are in the base's dtype.

Left out: DoRA, and adapters on the experts of a mixture, whose rows are no longer in the order of the batch
(`can_mix`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.nn.functional import linear

from training.errors import ModelUnavailable
from training.models.language_model import LanguageModel, load_adapter


class Soup(NamedTuple):
    """A policy that is the weighted sum of what adapters add to their base.

    Attributes:
        parts: (folder of an adapter, its weight); weights may be negative and need not sum to 1.
    """

    parts: tuple[tuple[Path, float], ...]


Policy = Path | Soup | None
"""The folder of an adapter, several of them with weights, or None for the base alone."""

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
        return self._names.keys() >= weights_of(policy).keys()

    def load(self, policy: Policy, in_use: Iterable[Policy] = ()) -> None:
        """Load a policy's adapters, where they are not there. Nothing may be computed meanwhile: it changes the model's
        layers.

        Args:
            in_use: adapters that must stay; of the others the oldest goes where there are `MOST_ADAPTERS`.

        Raises:
            ModelUnavailable: one cannot be read or belongs to another base.
        """
        needed = {folder for other in (policy, *in_use) for folder in weights_of(other)}
        for folder in weights_of(policy):
            if folder not in self._names:
                self._load_adapter(folder, needed)

    def _load_adapter(self, folder: Path, needed: set[Path]) -> None:
        idle = [other for other in self._names if other not in needed]
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
        adapters = tuple(sorted({folder for policy in policies for folder in weights_of(policy)}))
        if adapters != self._beside:
            self._put_beside(adapters)

    def use(self, policies: Sequence[Policy]) -> None:
        """Whose adapters each row of the next pass has; they were gathered."""
        self.mask = None
        weights = [weights_of(policy) for policy in policies]
        if any(weights):
            columns = torch.tensor(self._ranks)
            mask = torch.tensor([[of_row.get(adapter, 0.0) for adapter in self._beside] for of_row in weights],
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


def weights_of(policy: Policy) -> dict[Path, float]:
    """The weight of each adapter in a policy: 1 for an adapter alone, none for the base. One that a soup names twice
    counts with the sum of its weights."""
    if policy is None:
        return {}
    if isinstance(policy, Path):
        return {policy: 1.0}
    weights: dict[Path, float] = {}
    for folder, weight in policy.parts:
        weights[folder] = weights.get(folder, 0.0) + weight
    return weights


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
