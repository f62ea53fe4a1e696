"""Decoding against `generate` of transformers, with the same LoRA policy: tokens a second.

    python benchmarks/decode.py [--size 10m] [--batch 64] [--device cuda]

The policy answers random prompts with 64 tokens. transformers' `generate` works with the adapter as peft leaves it,
which is how trainers call it; ours within `language_model.merged`, as a phase of PPO calls it. The two take turns, and
each one's best time counts. Before that the two are shown to say the same: equal tokens where the likeliest is taken,
and over one step's draws equal frequencies, within four standard errors.

The last line is `ratio: 2.1`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import repository  # noqa: F401
import torch
from shapes import SHAPES, make_policy, make_prompts

from training.config import Lora
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel

DRAWS = 512


def load(shape: str, device: str, folder: Path) -> LanguageModel:
    """A random policy whose adapter changes what it says."""
    precision = "bf16" if device == "cuda" else "fp32"
    language = language_model.load(str(make_policy(folder, shape)), torch.device(device), precision)
    torch.manual_seed(0)
    language = language_model.add_adapter(language, Lora(r=16, alpha=32))
    for parameter in language_model.trainable_parameters(language):
        torch.nn.init.normal_(parameter, std=0.02)
    return language


def ours(language: LanguageModel, ids: Any, mask: Any, length: int, temperature: float = 1.0) -> Any:
    """Response tokens, [batch, response]."""
    sampling = rollouts.Sampling(length, temperature)
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    with language_model.merged(language):
        return rollouts.generate(language, ids, mask, sampling, generator).responses


def theirs(language: LanguageModel, ids: Any, mask: Any, length: int, greedy: bool = False) -> Any:
    """Response tokens, [batch, response]."""
    how = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
    with torch.no_grad():
        sequences = language.adapter.generate(input_ids=ids, attention_mask=mask, max_new_tokens=length,
                                          pad_token_id=language.pad_id, **how)
    return sequences[:, ids.shape[1] :]


def check(language: LanguageModel, ids: Any, mask: Any) -> None:
    """Equal tokens when greedy, equal frequencies when drawn; else the program ends with what differs."""
    mine, peer = ours(language, ids, mask, 32, temperature=0), theirs(language, ids, mask, 32, greedy=True)
    width = min(mine.shape[1], peer.shape[1])
    if not torch.equal(mine[:, :width], peer[:, :width]):
        sys.exit(f"greedy tokens differ: {int((mine[:, :width] != peer[:, :width]).sum())} of {mine.numel()}")
    same = ids[:1].expand(DRAWS, -1), mask[:1].expand(DRAWS, -1)
    classes = 8  # tokens by their id, modulo
    counts = [(side(language, *same, 1)[:, 0] % classes).bincount(minlength=classes) for side in (ours, theirs)]
    share = (counts[0] + counts[1]) / (2 * DRAWS)
    error = (2 * share * (1 - share) / DRAWS).sqrt()
    distance = float(((counts[0] - counts[1]).abs() / DRAWS / error).max())
    if distance > 4:
        sys.exit(f"the draws differ by {distance:.1f} standard errors")
    print(f"the same tokens when greedy; draws at most {distance:.1f} standard errors apart", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="10m", choices=sorted(SHAPES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        language = load(options.size, options.device, Path(temporary))
    prompts = [[{"role": "user", "content": text}] for text in make_prompts(options.batch, 32, options.size)]
    ids, mask = rollouts.pad_prompts(language, prompts, options.tokens)
    check(language, ids, mask)
    seconds: dict[str, list[float]] = {"ours": [], "generate": []}
    tokens = options.batch * options.tokens  # an end drawn by chance, one in thousands, counts as if it went on
    for _ in range(options.rounds):
        for name, side in (("ours", ours), ("generate", theirs)):
            began = time.perf_counter()
            side(language, ids, mask, options.tokens)
            if options.device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    for name, times in seconds.items():
        print(f"{name:10} {tokens / min(times):10.0f} tokens/s  rounds {' '.join(f'{value:.2f}' for value in times)} s")
    print(f"ratio: {min(seconds['generate']) / min(seconds['ours']):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
