"""Decoding against `generate` of transformers, with the same LoRA policy: tokens a second.

    python benchmarks/decode.py [--size 10m] [--batch 64] [--device cuda]

The policy answers random prompts with 64 tokens. transformers' `generate` works with the adapter as peft leaves it,
which is how trainers call it; ours within `language_model.merged`, as a phase of PPO calls it. The two take turns, and
each one's best time counts. Before that the two are shown to say the same: equal tokens where the likeliest is taken
(in fp32: bf16 rounds a merged adapter otherwise), and over one step's draws equal frequencies, within four standard
errors.

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


def load(base: Path, device: str, precision: str) -> LanguageModel:
    """A policy with a random adapter, which changes what it says."""
    language = language_model.load(str(base), torch.device(device), precision)
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


def random_prompts(language: LanguageModel, shape: str, batch: int, tokens: int) -> tuple[Any, Any]:
    """Prompts of 32 tokens, padded, and their mask."""
    prompts = [[{"role": "user", "content": text}] for text in make_prompts(batch, 32, shape)]
    return rollouts.pad_prompts(language, prompts, tokens)


def difference(language: LanguageModel, ids: Any, mask: Any) -> str:
    """What differs: tokens when greedy, or frequencies when drawn; "" where nothing does."""
    mine, peer = ours(language, ids, mask, 32, temperature=0), theirs(language, ids, mask, 32, greedy=True)
    width = min(mine.shape[1], peer.shape[1])
    if not torch.equal(mine[:, :width], peer[:, :width]):
        return f"greedy tokens differ: {int((mine[:, :width] != peer[:, :width]).sum())} of {mine.numel()}"
    same = ids[:1].expand(DRAWS, -1), mask[:1].expand(DRAWS, -1)
    classes = 8  # tokens by their id, modulo
    counts = [(side(language, *same, 1)[:, 0] % classes).bincount(minlength=classes) for side in (ours, theirs)]
    share = (counts[0] + counts[1]) / (2 * DRAWS)
    error = (2 * share * (1 - share) / DRAWS).sqrt()
    distance = float(((counts[0] - counts[1]).abs() / DRAWS / error).max())
    if distance > 4:
        return f"the draws differ by {distance:.1f} standard errors"
    print(f"the same tokens when greedy; draws at most {distance:.1f} standard errors apart", flush=True)
    return ""


def ratio(language: LanguageModel, ids: Any, mask: Any, tokens: int, rounds: int) -> float:
    """How many times as fast as `generate` answers of `tokens` tokens are decoded, merging the adapter included."""
    seconds: dict[str, list[float]] = {"ours": [], "generate": []}
    for _ in range(rounds):
        for name, side in (("ours", ours), ("generate", theirs)):
            began = time.perf_counter()
            side(language, ids, mask, tokens)
            if ids.is_cuda:
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    all_tokens = len(ids) * tokens  # an end drawn by chance, one in thousands, counts as if it went on
    for name, times in seconds.items():
        print(f"decode  {name:10} {all_tokens / min(times):10.0f} tokens/s   "
              f"rounds {' '.join(f'{value:.2f}' for value in times)} s", flush=True)
    return min(seconds["generate"]) / min(seconds["ours"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="10m", choices=sorted(SHAPES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = make_policy(Path(temporary), options.size)
        language = load(base, options.device, "fp32")
        ids, mask = random_prompts(language, options.size, options.batch, options.tokens)
        if different := difference(language, ids, mask):
            sys.exit(different)
        if options.device == "cuda":
            language = load(base, options.device, "bf16")
    print(f"ratio: {ratio(language, ids, mask, options.tokens, options.rounds):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
