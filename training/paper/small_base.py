"""A base smaller than the policy, for the claim that small preference models can align a larger policy.

The demo world ships one base of three layers; its lowest two or one, with the same embeddings and tokenizer, are models
of 69 and 37 % of its size that were never trained as such. Real models need none: they come in sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from training.models.language_model import base_location, load_tokenizer

LAYERS = (2, 1)


class Sizes(NamedTuple):
    """Parameters of the base of the preference models and of the policy."""

    models: int
    policy: int


def make_small_base(base: str, folder: Path, layers: int) -> str:
    """Write the lowest layers of a base as a base of their own, once; returns its path.

    Raises:
        ModelUnavailable: the base cannot be loaded.
    """
    if not (folder / "model.safetensors").is_file():
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base_location(base), trust_remote_code=False)
        model.model.layers = model.model.layers[:layers]
        model.config.num_hidden_layers = layers
        load_tokenizer(base).save_pretrained(folder)
        model.save_pretrained(folder, safe_serialization=True)
    return str(folder.resolve())


def sizes(models: str, policy: str) -> Sizes:
    """How many parameters the two bases have, read from their configurations; no weights are loaded.

    Raises:
        ModelUnavailable: a base's configuration cannot be had.
    """
    return Sizes(_parameters(models), _parameters(policy))


def _parameters(base: str) -> int:
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(base_location(base), trust_remote_code=False))
    return sum(parameter.numel() for parameter in model.parameters())
