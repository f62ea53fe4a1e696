"""How large a model is: parameters and the widths that decide what its passes take of memory. Torch-free.

Three sources, the best one first: the headers of a folder's safetensors files (exact), the config of a hub model that
this machine has in its cache, and the size that a hub id or a GGUF file names ("Qwen2.5-0.5B"), with the shape that
decoders of that size have. Left out: asking the hub.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from training.run import model_shape
from training.run.artifacts import read_json
from training.run.model_names import ModelHome

_HEADER_LENGTH = 8  # bytes at the start of a safetensors file that say how long its header is
_SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)\s?([bm])(?![a-z0-9])", re.IGNORECASE)

# Parameters: hidden size, intermediate size, layers, width of keys (or values), vocabulary. Decoders that people use.
_TYPICAL: dict[float, tuple[int, int, int, int, int]] = {
    0.135e9: (576, 1536, 30, 192, 49_152),
    0.36e9: (960, 2560, 32, 320, 49_152),
    0.5e9: (896, 4864, 24, 128, 151_936),
    1.24e9: (2048, 8192, 16, 512, 128_256),
    1.5e9: (1536, 8960, 28, 256, 151_936),
    3.1e9: (2048, 11_008, 36, 256, 151_936),
    8.0e9: (4096, 14_336, 32, 1024, 128_256),
    14.8e9: (5120, 13_824, 48, 1024, 152_064),
    32.8e9: (5120, 27_648, 64, 1024, 152_064),
    70.6e9: (8192, 28_672, 80, 1024, 128_256),
}


class ModelSize(NamedTuple):
    """What of a model decides the memory of its passes.

    Attributes:
        name: as it was typed.
        parameters: of all tensors, a tied embedding counted once.
        embedding: parameters of the embedding (and as many of a head, where it is not tied).
        hidden, intermediate: widths of a layer's states and of its MLP.
        layers: decoder layers.
        cache_width: the width of the keys of one layer; the values' is the same.
        vocabulary: rows of the embedding.
        is_guess: whether the shape was guessed from the model's name.
    """

    name: str
    parameters: int
    embedding: int
    hidden: int
    intermediate: int
    layers: int
    cache_width: int
    vocabulary: int
    is_guess: bool = False


def size_of(name: str, home: ModelHome) -> ModelSize | None:
    """The size of the model that a name means, or None where nothing is known of it.

    Raises:
        ModelUnavailable: the name means no model.
    """
    folder = home.locate(name)
    if folder is not None:
        return size_of_folder(folder, name)
    if packed := home.packed(name):
        return size_in_name(packed.file.stem)
    config = _cached_config(name)
    return size_of_config(config, name) if config is not None else size_in_name(name)


def size_of_folder(folder: Path, name: str = "") -> ModelSize | None:
    """The size of a saved model: its config for the shape, the headers of its weights for the parameters."""
    if not (folder / "config.json").is_file():
        return None
    size = size_of_config(read_json(folder / "config.json"), name or folder.name)
    tensors = [math.prod(shape) for file in sorted(folder.glob("*.safetensors")) for shape in _shapes(file)]
    return size._replace(parameters=sum(tensors)) if size is not None and tensors else size


def size_of_config(config: Mapping[str, Any], name: str) -> ModelSize | None:
    """The size that a config.json describes, its parameters counted as for a decoder with a gated MLP."""
    part = model_shape.text_part(config)
    hidden, layers = model_shape.width(config), model_shape.layers(config)
    vocabulary = model_shape.token_rows(config)
    if hidden is None or layers is None or vocabulary is None:
        return None
    intermediate = _number(part, "intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    heads = _number(part, "num_attention_heads", "n_head", "num_heads") or 1
    head_width = _number(part, "head_dim") or hidden // heads
    cache_width = (_number(part, "num_key_value_heads") or heads) * head_width
    attention = 2 * hidden * heads * head_width + 2 * hidden * cache_width
    embedding = vocabulary * hidden
    tied = bool(config.get("tie_word_embeddings", part.get("tie_word_embeddings", True)))
    parameters = layers * (attention + 3 * hidden * intermediate) + embedding * (1 if tied else 2)
    return ModelSize(name, parameters, embedding, hidden, intermediate, layers, cache_width, vocabulary)


def size_in_name(name: str) -> ModelSize | None:
    """A guess from the number of parameters that a model's name gives, None where it gives none.

    >>> size_in_name("Qwen/Qwen2.5-0.5B-Instruct").parameters
    500000000
    >>> size_in_name("owner/model") is None
    True
    """
    match = _SIZE_IN_NAME.search(name.rsplit("/", 1)[-1])
    if match is None:
        return None
    parameters = float(match[1]) * (1e9 if match[2].lower() == "b" else 1e6)
    nearest = min(_TYPICAL, key=lambda known: abs(math.log(known / max(parameters, 1.0))))
    hidden, intermediate, layers, cache_width, vocabulary = _TYPICAL[nearest]
    scale = (parameters / nearest) ** (1 / 3)  # of width and depth alike
    hidden, intermediate, cache_width = (max(8, round(width * scale)) for width in (hidden, intermediate, cache_width))
    return ModelSize(name, round(parameters), vocabulary * hidden, hidden, intermediate, max(1, round(layers * scale)),
                     cache_width, vocabulary, is_guess=True)


def _cached_config(name: str) -> dict[str, Any] | None:
    """The config of a hub model that this machine has downloaded before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return read_json(Path(path)) if isinstance(path, str) and Path(path).is_file() else None


def _shapes(file: Path) -> Iterator[list[int]]:
    """The shapes of all tensors in a safetensors file, from its header."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_HEADER_LENGTH), "little")
        header = json.loads(stream.read(length))
    for name, tensor in header.items():
        if name != "__metadata__":
            yield tensor["shape"]


def _number(config: Mapping[str, Any], *names: str) -> int | None:
    values = (config.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
