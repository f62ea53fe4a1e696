"""Scoring responses on twelve principles against scoring them on one: operations and time.

    python benchmarks/scoring.py [--shape 10m] [--principles 12] [--layers 2] [--batch 64] [--device cuda] [--rounds 5]

Random responses of 32 + 64 tokens are scored by one preference model (an adapter on all layers, merged), by twelve
heads on one trunk, and by twelve adapters: on the upper quarter of the layers, the layers below computed once; on all
layers; and, as MORLAIF's own code does it, on all layers by switching peft's adapter before each plain forward pass.
All take turns, and each one's best time counts. Before that, every score is shown to be that of the plain forward pass,
within 1e-3 of the spread of the scores (bf16 on a GPU: 0.1).

The last line is `ratio: 1.05 separate: 4.1`: the shared trunk, and the adapters on the upper layers, each against one
model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import repository  # noqa: F401
import torch
from shapes import SHAPES, make_policy, make_prompts
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from training import preference_models as pm
from training.config import Lora
from training.models.language_model import load_tokenizer
from training.run.artifacts import write_json

PROMPT_WORDS, RESPONSE_WORDS = 32, 64
LORA = Lora(r=8, alpha=32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="10m")
    parser.add_argument("--principles", type=int, default=12)
    parser.add_argument("--layers", type=int, help="upper layers with adapters; a quarter of them unless told")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    layers = options.layers or SHAPES[options.shape][2] // 4
    with tempfile.TemporaryDirectory() as folder:
        ways = build(Path(folder), options, layers)
        seconds, operations = measure(ways, options.rounds, options.device)
    print(f"{'':52} operations   time   seconds")
    for name in ways:
        print(f"{name:52} {operations[name] / operations['one']:9.2f}x {seconds[name] / seconds['one']:6.2f}x "
              f"{seconds[name]:8.3f}")
    print(f"ratio: {seconds['shared trunk'] / seconds['one']:.2f} "
          f"separate: {seconds[f'separate, upper {layers} layers'] / seconds['one']:.2f}")
    return 0


def build(folder: Path, options: argparse.Namespace, layers: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by name; each is shown first to score as the plain forward pass does."""
    precision = "bf16" if options.device == "cuda" else "fp32"
    base = make_policy(folder / "base", options.shape)
    prompts = [[{"role": "user", "content": text}] for text in make_prompts(options.batch, PROMPT_WORDS, options.shape)]
    responses = make_prompts(options.batch, RESPONSE_WORDS, options.shape, seed=7)
    names = [f"p{n}" for n in range(options.principles)]
    every = {name: folder / "every" / name for name in names}
    upper = {name: folder / "upper" / name for name in names}
    for n, name in enumerate(names):
        make_model(every[name], base, n, options, precision)
        make_model(upper[name], base, n, options, precision, layers=layers)
    make_model(folder / "shared", base, 0, options, precision, heads=names)

    loaded = {
        "one": pm.PreferenceModels.load({"p0": every["p0"]}, options.device, precision),
        "shared trunk": pm.PreferenceModels.load(dict.fromkeys(names, folder / "shared"), options.device, precision),
        f"separate, upper {layers} layers": pm.PreferenceModels.load(upper, options.device, precision),
        "separate, all layers": pm.PreferenceModels.load(every, options.device, precision),
    }
    plain = {
        "one": Switched(base, {"p0": every["p0"]}, options.device, precision),
        "shared trunk": Switched(base, {"shared": folder / "shared"}, options.device, precision),
        f"separate, upper {layers} layers": Switched(base, upper, options.device, precision),
        "separate, all layers": Switched(base, every, options.device, precision),
    }
    bound = 1e-3 if precision == "fp32" else 0.1
    for name, models in loaded.items():
        expected = plain[name].score(prompts, responses)
        off = ((models.score_raw(prompts, responses) - expected).abs() / expected.std(0)).max().item()
        print(f"{name}: scores are off the plain forward pass by {off:.1e} of their spread")
        assert off < bound
    ways: dict[str, Callable[[], Any]] = {
        name: lambda models=models: models.score_raw(prompts, responses, options.batch)  # type: ignore[misc]
        for name, models in loaded.items()}
    switched = plain["separate, all layers"]
    return ways | {"separate, all layers, adapters switched (plain peft)": lambda: switched.score(prompts, responses)}


def make_model(folder: Path, base: Path, seed: int, options: argparse.Namespace, precision: str, *, layers: int = 0,
               heads: Sequence[str] = ("p0",)) -> None:
    """A preference model whose adapter says something, saved as a stage saves it."""
    torch.manual_seed(100 + seed)
    model, adapter = pm.new_model(str(base), LORA, options.device, precision, heads=len(heads), layers=layers)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    pm.save(folder, model, adapter)
    card = {"base": str(base), "max_length": 512, "mean": 0.0, "std": 1.0, "lora_layers": layers}
    write_json(folder / pm.CARD, card if len(heads) == 1 else {"cards": {
        name: card | {"architecture": "shared_trunk", "head": head} for head, name in enumerate(heads)}})


class Switched:
    """The plain way: peft's adapters beside one base, switched one after another, a whole forward pass for each."""

    def __init__(self, base: Path, folders: dict[str, Path], device: str, precision: str) -> None:
        from peft import PeftModel
        from safetensors.torch import load_file

        self.tokenizer = load_tokenizer(str(base))
        self.device = device
        trunk = pm.load_trunk(str(base), device, precision)
        (first, folder), *others = folders.items()
        self.model = PeftModel.from_pretrained(trunk, str(folder), adapter_name=first, torch_device=device)
        for name, folder in others:
            self.model.load_adapter(str(folder), adapter_name=name, torch_device=device)
        self.heads = {name: load_file(folder / "head.safetensors")["weight"].to(device)
                      for name, folder in folders.items()}

    @torch.no_grad()
    def score(self, prompts: Sequence[Any], responses: Sequence[str]) -> Tensor:
        """Raw scores [rows, principles]."""
        rows = [pm.encode(self.tokenizer, prompt, response, 512)
                for prompt, response in zip(prompts, responses, strict=True)]
        ids, mask = pm.padded(rows, 0, self.device)
        scores = []
        for name, head in self.heads.items():
            self.model.set_adapter(name, inference_mode=True)
            hidden = self.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            scores.append(hidden[torch.arange(len(rows)), mask.sum(1) - 1].float() @ head.T)
        return torch.cat(scores, dim=1)


def measure(ways: dict[str, Callable[[], Any]], rounds: int, device: str) -> tuple[dict[str, float], dict[str, int]]:
    """Best seconds of each, taken in turns, and operations of each (multiplications and additions)."""
    operations = {}
    for name, way in ways.items():
        with FlopCounterMode(display=False) as counter:
            way()
        operations[name] = counter.get_total_flops()
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds, operations


if __name__ == "__main__":
    sys.exit(main())
