"""The size of a loaded model, read from its weights, because some models are not as wide as their config says (OPT-350m
projects its last hidden state).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from training.run.model_shape import positions


def model_positions(model: Any) -> int | None:
    """`positions` of a loaded transformers model."""
    return positions(model.config.to_dict())


def decoder_config(model: Any) -> Any:
    """The part of a loaded model's config that describes its text model."""
    return model.config.get_text_config(decoder=True)


def head_width(model: Any) -> int:
    """How wide the hidden states are that a language model's head reads: columns of the head's weight."""
    return int(model.get_output_embeddings().weight.shape[1])


def trunk_of(model: Any) -> Any:
    """The part of a causal language model below its head."""
    name_trunk(model)
    return getattr(model, model.base_model_prefix)


def name_trunk(model: Any) -> None:
    """Correct the name of a model's trunk: Llama 4 says "language_model" but has it in "model", and TRL relies on
    it."""
    if getattr(model, model.base_model_prefix, None) is None:
        children = model.named_children()
        model.base_model_prefix = next(name for name, child in children if isinstance(child, PreTrainedModel))


def last_width(trunk: Any) -> int:
    """The width of a trunk's last hidden states, measured on one token."""
    device = next(trunk.parameters()).device
    token = torch.ones(1, 1, dtype=torch.long, device=device)
    with torch.no_grad():
        return int(trunk(input_ids=token, attention_mask=token, use_cache=False).last_hidden_state.shape[-1])


def is_in_parts(model: Any) -> bool:
    """Whether a loaded model has other parts besides its text model."""
    return decoder_config(model) is not model.config
