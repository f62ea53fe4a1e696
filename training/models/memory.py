"""What a pass over a model takes of memory, estimated from its shape, and how much memory there is.

Estimates are from the config alone and from the machine's total, never from what happens to be free: a resumed stage
then cuts its batches as it did before, and its results stay the same.
"""

from __future__ import annotations

from typing import Any

import torch

from training.models.fast_layers import has_kernels
from training.run import memory_plan
from training.run.device import Device, host_bytes
from training.run.model_size import ModelSize, size_of_config


def activation_bytes_per_token(model: Any, fused: bool = False, dropout: bool = False) -> float:
    """`memory_plan.activation_bytes` of a loaded model, where it is."""
    return memory_plan.activation_bytes(loaded_size(model), int(model.dtype.itemsize), fused, dropout,
                                        has_kernels(next(model.parameters()).device))


def loaded_size(model: Any) -> ModelSize:
    """The size of a loaded transformers model, by its config."""
    config = model.config.get_text_config(decoder=True)
    size = size_of_config(config.to_dict(), type(model).__name__)
    assert size is not None, f"{type(config).__name__} does not say how wide the model is"
    return size


def total_bytes(device: torch.device) -> int:
    """The memory of a GPU, or what this process may use of the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return host_bytes()


def device_memory(device: torch.device) -> Device:
    """What the plan of a stage's memory wants to know of a device."""
    return Device(total_bytes(device), device.type == "cuda")


def tokens_at_once(model: Any, device: torch.device, fused: bool = False, dropout: bool = False) -> int:
    """Tokens of one forward and backward pass that the memory should hold: a power of two within bounds."""
    return memory_plan.tokens_at_once(activation_bytes_per_token(model, fused, dropout), device_memory(device))


def rows_of_an_sft_pass(model: Any, device: torch.device, batch: int, tokens: int) -> int:
    """`memory_plan.rows_of_an_sft_pass` of a loaded model, for rows of so many tokens."""
    token = memory_plan.sft_token_bytes(loaded_size(model), int(model.dtype.itemsize))
    return memory_plan.rows_of_an_sft_pass(batch, tokens, token, device_memory(device))
