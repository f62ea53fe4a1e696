"""How exactly decoding agrees with the plain forward pass, by family and precision, on the device that is there.

    python benchmarks/exactness.py [--model FOLDER ...] [--half-billion]

Cached decoding of two prompts padded at the left, and a padded pass, are held against plain passes of each row alone
(`training.models.exactness`), as every run does before anything is drawn. Tiny random models of the families in
tests/training/tiny_families.py; `--model` adds real ones, `--half-billion` random weights of a Qwen2.5-0.5B's shape.
A run takes a model whose difference is at most 1e-3 nats in fp32 and 0.5 in bf16.

The last line is `fp32: 1.2e-06 bf16: 0.021 refused: recurrent_gemma roberta rwkv`: the worst of the models that a run
takes, and the families that it refuses.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import repository  # noqa: F401
import torch

from tests.training.tiny_families import FAMILIES, TOKENIZER, make_family
from training.models import language_model
from training.models.exactness import TOLERANCE, measure
from training.models.language_model import LanguageModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="*", default=[], type=Path)
    parser.add_argument("--half-billion", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(torch.cuda.get_device_name() if device.type == "cuda" else "CPU", torch.__version__, flush=True)
    worst = dict.fromkeys(DTYPES, 0.0)
    refused: list[str] = []

    def take(name: str, precision: str, language: LanguageModel) -> None:
        difference = measure(language)
        fits = max(difference) <= TOLERANCE[DTYPES[precision]]
        print(f"{name} {precision}: cached {difference.cached:.1e}, padded {difference.padded:.1e}"
              + ("" if fits else " REFUSED"), flush=True)
        if fits:
            worst[precision] = max(worst[precision], *difference)
        elif name not in refused:
            refused.append(name)

    with tempfile.TemporaryDirectory() as folder:
        folders: list[tuple[str, Path]] = []
        for name in FAMILIES:
            try:
                folders.append((name, make_family(name, Path(folder, name))))
            except Exception as error:  # an older transformers may lack a family
                print(f"{name}: cannot be made here ({type(error).__name__})", flush=True)
        for name, path in [*folders, *((path.name, path) for path in options.model)]:
            for precision in DTYPES:
                try:
                    take(name, precision, language_model.load(str(path), device, precision))
                except Exception as error:  # whatever a family raises, a run refuses it
                    print(f"{name} {precision}: REFUSED, {type(error).__name__}: {str(error)[:120]}", flush=True)
                    refused += [name] if name not in refused else []
    if options.half_billion:
        for precision, dtype in DTYPES.items():
            take("half a billion", precision, half_billion(device, dtype))
    print(f"fp32: {worst['fp32']:.1e} bf16: {worst['bf16']:.2g} refused: {' '.join(refused) or 'none'}")


def half_billion(device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """Random weights of a Qwen2.5-0.5B's shape."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    with device:
        model = Qwen2ForCausalLM(Qwen2Config(
            vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
            num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True))
    model = model.to(dtype).eval().requires_grad_(False)
    end = TOKENIZER.eos_token_id
    return LanguageModel("half a billion", model, TOKENIZER, device, (end,), TOKENIZER.pad_token_id, 4096)


if __name__ == "__main__":
    main()
