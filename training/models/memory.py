"""What a pass over a model takes of memory, estimated from its shape, and how much memory there is.

Estimates are from the config alone and from the machine's total, never from what happens to be free: a resumed stage
then cuts its batches as it did before, and its results stay the same.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch

LEAST_TOKENS, MOST_TOKENS = 512, 16_384
"""Bounds of `tokens_at_once`: more than the latter is no faster, fewer than the former are a few sentences."""

SHARE_OF_GPU, SHARE_OF_HOST = 0.5, 0.25
"""Of the memory, for one pass: a GPU belongs to one stage, a host also runs the web, workers and other stages."""

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def activation_bytes_per_token(model: Any) -> float:
    """What a forward pass keeps of one token for the backward pass, in all layers of a decoder with an adapter.

    A layer keeps some 12 vectors of the hidden size (norms also in fp32, queries to outputs) and 5 of the intermediate
    size; adapters keep as much again. Measured for SmolLM2-135M in fp32 on a CPU: 3.3 MB, estimated 3.5 MB.
    """
    config = model.config.get_text_config(decoder=True)
    hidden = int(config.hidden_size)
    intermediate = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    return 2.0 * config.num_hidden_layers * (12 * hidden + 5 * intermediate) * int(model.dtype.itemsize)


def total_bytes(device: torch.device) -> int:
    """The memory of a GPU, or what this process may use of the machine's (the limit of its container)."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(installed, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return installed


def tokens_at_once(model: Any, device: torch.device) -> int:
    """Tokens of one forward and backward pass that the memory should hold: a power of two within the bounds."""
    share = SHARE_OF_GPU if device.type == "cuda" else SHARE_OF_HOST
    fitting = total_bytes(device) * share / activation_bytes_per_token(model)
    return min(MOST_TOKENS, max(LEAST_TOKENS, 2 ** int(math.log2(max(1.0, fitting)))))
