"""How PPO's cost grows: samples a second by batch, by number of principles and by response length.

    python benchmarks/growth.py [--size tiny] [--device cuda]

One setting is changed at a time from 64 samples of 16 + 32 tokens with one principle; the principles are heads on one
trunk. Three phases a cell: the first warms up, the better of the others counts. Linear cost is one figure for all
batches and principles, and half of it for twice the tokens. The combinations of large settings are left out: each is a
row's figure times a column's.

The last line is `batch: 1.10 principles: 1.05 length: 1.20`: the cost of a sample (of a token, for lengths) in the
costliest cell over that in the cheapest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ppo_vs_trl import Setup, ours
from shapes import SHAPES, make_policy, make_reward_model

BATCHES = (16, 32, 64, 128, 256, 512)
PRINCIPLES = (1, 2, 4, 8, 12, 24)
LENGTHS = (32, 64, 128, 256, 512)


def row(name: str, cells: dict[int, Setup], work: Callable[[Setup], int]) -> str:
    """Measure a row, print a line a cell, and say how much the cost of a unit of work differs."""
    costs = []
    for value, setup in cells.items():
        speed = ours(setup).samples_per_second(setup.batch)
        costs.append(1 / speed / work(setup))
        print(f"{name:12} {value:4d}   {speed:9.2f} samples/s", flush=True)
    return f"{name}: {max(costs) / min(costs):.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="tiny", choices=sorted(SHAPES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        policy = make_policy(folder / "policy", options.size)
        reward = make_reward_model(folder / "reward", options.size)
        plain = Setup(str(policy), str(reward), options.size, options.device,
                      "bf16" if options.device == "cuda" else "fp32", principles=1, prompt_tokens=16,
                      response_tokens=32, steps=3, prompts=512)
        ends = [
            row("batch", {size: replace(plain, batch=size) for size in BATCHES}, lambda _: 1),
            row("principles", {count: replace(plain, principles=count) for count in PRINCIPLES}, lambda _: 1),
            row("length", {length: replace(plain, response_tokens=length, batch=16) for length in LENGTHS},
                lambda setup: setup.prompt_tokens + setup.response_tokens),
        ]  # fmt: skip
    print(" ".join(ends))
    return 0


if __name__ == "__main__":
    sys.exit(main())
