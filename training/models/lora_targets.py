"""Which linear maps of a model a LoRA adapter is put on.

All of them where the model is one decoder with attention. Where it has other parts (a tower for pictures), other layers
(state-space) or linear maps that give more than a tensor (routers of Llama 4), only those that its text model calls as
modules and that give one tensor: an adapter on a map that is never called, or whose weight is used directly, would not
be trained, but merging it would still change the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from training.models.decoding import attends_only
from training.models.loaded_shape import is_in_parts

ALL = "all-linear"
_REFUSED_BY_PEFT = {"out_proj", "conv1d"}  # in models with state-space layers, whose fused kernels bypass them


def lora_targets(model: Any) -> str | list[str]:
    """What peft is given as `target_modules` for a causal model or its trunk."""
    special = any(isinstance(module, nn.Linear) and type(module) is not nn.Linear for module in model.modules())
    if attends_only(model) and not is_in_parts(model) and not special:
        return ALL
    return called_linears(model)


def called_linears(model: Any) -> list[str]:
    """The full names of the linear maps that a pass over text calls and that give a tensor, without the language
    head."""
    called: set[str] = set()

    def note(name: str, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            called.add(name)

    hooks = [module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
             for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    device = next(model.parameters()).device
    tokens = torch.ones(1, 4, dtype=torch.long, device=device)
    try:
        with torch.no_grad():
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    head = model.get_output_embeddings()
    refused = set() if attends_only(model) else _REFUSED_BY_PEFT
    return [name for name, module in model.named_modules()
            if name in called and module is not head and name.rpartition(".")[2] not in refused]
