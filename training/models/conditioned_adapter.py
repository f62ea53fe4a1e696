"""One adapter for every trade-off: a weighted sum of one LoRA adapter per principle (conditioned language policy, CLP,
arXiv 2407.15762).

For shares w, which sum to 1, the policy's weights are

    W + s sum_k w_k B_k A_k

The K adapters, its corners, stand side by side as one of K times the rank: all that reads an adapter (fused layers,
merging, saving) reads this one as it is. What the shares scale is B, so the optimizer updates copies of B without them,
the masters, and a gradient of B reaches its master times the share. Left out: DoRA, biases, CLP's parts of the model
that do not depend on w (shares that sum to 1 can hold such a part in all corners).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from training.config import Lora
from training.models.language_model import LanguageModel, ValueHead, add_adapter, lora_layers
from training.run.artifacts import corner_policy


def add_corners(language: LanguageModel, lora: Lora, corners: int) -> LanguageModel:
    """The model with a new, trainable adapter that holds `corners` adapters of the given rank and scaling."""
    return add_adapter(language, lora.model_copy(update={"r": corners * lora.r, "alpha": corners * lora.alpha}))


class _ScaledB(NamedTuple):
    """B of a layer, [outputs, corners x rank], as the model has it and as the optimizer updates it."""

    scaled: nn.Parameter
    master: nn.Parameter


class ConditionedAdapter:
    """The corners of a model whose adapter `add_corners` made, and the shares that they count by.

    Attributes:
        names: of the corners, in order.
        shares: [corners]; equal ones at first.
        parameters: what the optimizer updates: A of each layer and the master of its B.
    """

    def __init__(self, language: LanguageModel, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.shares = torch.full((len(names),), 1 / len(names))
        self._language = language
        self._layers: list[_ScaledB] = []
        self.parameters: list[nn.Parameter] = []
        for layer in lora_layers(language):
            name = layer.active_adapters[0]
            scaled = layer.lora_B[name].weight
            master = nn.Parameter(scaled.detach().clone())
            scaled.register_post_accumulate_grad_hook(partial(self._move_gradient, master))
            self._layers.append(_ScaledB(scaled, master))
            self.parameters += [layer.lora_A[name].weight, master]
        self.write_back()

    def use(self, shares: Tensor) -> None:
        """Make the model the policy of these shares, [corners]."""
        self.shares = shares.float()
        self.write_back()

    def write_back(self) -> None:
        """Write B times its shares into the model, after each optimizer step. The tensors stay where they are."""
        self._write(self.shares)

    @torch.no_grad()
    def _write(self, shares: Tensor) -> None:
        for scaled, master in self._layers:
            scaled.copy_(master * self._columns(shares, master))

    @contextmanager
    def without_shares(self) -> Iterator[None]:
        """Within it the model holds the masters: saved so, and loaded, every corner is there again."""
        self._write(torch.ones_like(self.shares))
        try:
            yield
        finally:
            self.write_back()

    def save_corners(self, folder: Path) -> None:
        """Write each corner as a plain adapter of its own, to `corner_policy`; they mix to the policy of any shares."""
        from peft import get_peft_model_state_dict

        peft_model = self._language.adapter
        with self.without_shares():
            tensors = get_peft_model_state_dict(peft_model, save_embedding_layers=False)
            for index, name in enumerate(self.names):
                corner = corner_policy(folder, name) / "adapter"
                corner.mkdir(parents=True)
                save_file({key: self._part(key, tensor, index) for key, tensor in tensors.items()},
                          corner / "adapter_model.safetensors", metadata={"format": "pt"})
                settings = copy.deepcopy(peft_model.peft_config["default"])
                settings.r //= len(self.names)
                settings.lora_alpha = settings.lora_alpha / len(self.names)
                if settings.lora_alpha.is_integer():
                    settings.lora_alpha = int(settings.lora_alpha)
                settings.inference_mode = True
                settings.save_pretrained(str(corner))

    def _part(self, key: str, tensor: Tensor, index: int) -> Tensor:
        """The rows of A, or the columns of B, that are one corner's."""
        return tensor.chunk(len(self.names), dim=0 if ".lora_A." in key else 1)[index].contiguous()

    def _columns(self, shares: Tensor, b: Tensor) -> Tensor:
        return shares.to(b.device).repeat_interleave(b.shape[1] // len(shares))

    def _move_gradient(self, master: nn.Parameter, scaled: Tensor) -> None:
        gradient, scaled.grad = scaled.grad, None
        if gradient is None:
            return
        of_master = gradient * self._columns(self.shares, master)
        master.grad = of_master if master.grad is None else master.grad.add_(of_master)


class ConditionedValueHead(ValueHead):
    """A critic for every trade-off: the values of the corners, weighted by the shares. It starts at zero everywhere."""

    def __init__(self, hidden: int, corners: int) -> None:
        super().__init__(hidden, corners)
        self.shares = torch.full((corners,), 1 / corners)

    def use(self, shares: Tensor) -> None:
        """Value answers by these shares, [corners]."""
        self.shares = shares.float()

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., hidden] -> [...], in fp32."""
        values: Tensor = self.linear(hidden.float()) @ self.shares.to(hidden.device)
        return values
