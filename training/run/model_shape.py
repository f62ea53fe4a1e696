"""The size of a model and whether its family can be a policy, from its config.json. Torch-free.

This serves the form and the command line; a loaded model is measured itself (`training.models.loaded_shape`). A config
may have parts (a multimodal model); that of the text model counts.

Families are refused by name where their decoding was measured to be inexact whatever is done here: a batch of prompts
is padded at the left, and these count the padding as positions, or keep no cache of what they have read. All other
families are measured when they are loaded (`training.models.exactness`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT_PARTS = ("text_config", "decoder", "generator", "llm_config", "language_config", "thinker_config")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim", "hidden_dim")
# Endings of architectures that write text.
DECODERS = ("CausalLM", "LMHeadModel", "LMHead")

_PADDING = "it counts the padding before a prompt as positions"
_RECURRENT = "padding before a prompt changes its recurrent state"
_OWN_CACHE = "its own kind of cache does not keep rows of different lengths apart"
_NO_CACHE = "it keeps no cache of the tokens that it has read"
INEXACT = dict.fromkeys((
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "camembert", "data2vec-text", "marian", "mbart", "mvp",
    "pegasus", "plbart", "prophetnet", "roberta", "roberta-prelayernorm", "roformer", "speech_to_text_2", "trocr",
    "whisper", "xlm-roberta", "xlm-roberta-xl", "xmod"), _PADDING) | dict.fromkeys((
        "recurrent_gemma", "rwkv", "xlstm"), _RECURRENT) | {"minimax": _OWN_CACHE} | dict.fromkeys((
            "cpmant", "ctrl", "openai-gpt", "reformer", "transfo-xl", "xlm", "xlnet"), _NO_CACHE)
"""Families (`model_type`) whose decoding is measurably inexact, and why."""


WRITE_IN_PARTS = ("gemma3", "gemma3n", "gemma4", "gemma4_unified", "llama4", "qwen3_5", "qwen3_5_moe")
"""Families whose models also see or hear, and whose text model transformers loads as a decoder."""


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the text model; the config itself where it is in one part."""
    for name in _TEXT_PARTS:
        part = config.get(name)
        if isinstance(part, Mapping):
            return text_part(part)
    return config


def positions(config: Mapping[str, Any]) -> int | None:
    """How many tokens the model can read, or None if its config sets no bound."""
    return _first(text_part(config), _POSITIONS)


def layers(config: Mapping[str, Any]) -> int | None:
    return _first(text_part(config), _LAYERS)


def width(config: Mapping[str, Any]) -> int | None:
    """The width of the hidden states between layers."""
    return _first(text_part(config), _WIDTHS)


def token_rows(config: Mapping[str, Any]) -> int | None:
    """How many tokens the model knows: rows of its embedding."""
    return _first(text_part(config), ("vocab_size",))


def why_no_policy(config: Mapping[str, Any], writes: bool = True) -> str:
    """Why a model of this config cannot serve here, as the end of a sentence; "" if nothing is known against it.

    Args:
        writes: whether it is to write responses; a preference model only reads them.

    >>> why_no_policy({"model_type": "bert", "architectures": ["BertForMaskedLM"]})
    'is a BertForMaskedLM: it cannot write a response'
    """
    kinds = config.get("architectures") or []
    family = str(text_part(config).get("model_type") or config.get("model_type") or "")
    in_parts = text_part(config) is not config and any(kind.endswith("ForConditionalGeneration") for kind in kinds)
    can_write = any(kind.endswith(DECODERS) for kind in kinds) or (
        in_parts and (not writes or config.get("model_type") in WRITE_IN_PARTS))
    if config.get("is_encoder_decoder") or (kinds and not can_write):
        return f"is a {', '.join(kinds) or 'model with an encoder'}: it cannot write a response"
    if family in INEXACT:
        return f"is a model of the family {family}: its decoding here would not be exact, because {INEXACT[family]}"
    return ""


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    values = (config.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool) and value > 0),
                None)
