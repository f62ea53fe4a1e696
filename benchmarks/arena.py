"""Votes in simulated arenas: how often intervals hold the truth, and how many votes choosing pairs saves.

    python benchmarks/arena.py
"""

from __future__ import annotations

import argparse

import numpy as np
import repository as repository  # puts the repository on the path

from training.quality.bradley_terry import Vote, covariance_of, strengths_of, with_intervals
from training.quality.pair_choice import worth_of_pairs

ARENAS = {"6 equal": [0.0] * 6, "6 half a nat apart": [0.5 * place for place in range(6)],
          "6 one nat apart": [1.0 * place for place in range(6)],
          "8 one nat apart": [1.0 * place for place in range(8)]}


def vote_of(true: np.ndarray, first: int, second: int, draw: np.random.Generator) -> float:
    return float(draw.random() < 1 / (1 + np.exp(true[second] - true[first])))


def coverage(simulations: int, votes: int = 200) -> float:
    """The share of strengths that lie in their bootstrap interval, of four policies with pairs at random."""
    true, inside = np.array([1.2, 0.4, -0.4, -1.2]), 0
    for seed in range(simulations):
        draw = np.random.default_rng(seed)
        pairs = [sorted(int(place) for place in draw.choice(4, 2, replace=False)) for _ in range(votes)]
        fitted = with_intervals([Vote(i, j, vote_of(true, i, j, draw)) for i, j in pairs], 4, seed)
        inside += int(((fitted.low <= true) & (true <= fitted.high)).sum())
    return inside / (4 * simulations)


def votes_until(true: np.ndarray, width: float, seed: int, active: bool) -> tuple[int, int]:
    """The votes until the intervals are so narrow on average, and until the widest one is (in nats, 95 %)."""
    draw, policies = np.random.default_rng(seed), len(true)
    wins, votes, on_average = np.zeros((policies, policies)), 0, 0
    while True:
        if votes % 5 == 0:
            widths = 2 * 1.96 * np.sqrt(np.diag(covariance_of(wins, strengths_of(wins))))
            if not on_average and widths.mean() < width:
                on_average = votes
            if widths.max() < width:
                return on_average, votes
        if active:
            i, j = divmod(int(worth_of_pairs(wins).argmax()), policies)
        else:
            i, j = (int(place) for place in draw.choice(policies, 2, replace=False))
        score = vote_of(true, i, j, draw)
        wins[i, j] += score
        wins[j, i] += 1 - score
        votes += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=100, help="of the coverage")
    parser.add_argument("--repetitions", type=int, default=5, help="of each arena and each way of choosing")
    parser.add_argument("--width", type=float, default=0.9, help="of the 95 %% intervals, in nats")
    options = parser.parse_args()
    print(f"coverage of 95 % intervals: {coverage(options.simulations):.1%} of {4 * options.simulations}")
    for name, strengths in ARENAS.items():
        counts = np.array([[votes_until(np.array(strengths), options.width, seed, active) for active in (True, False)]
                           for seed in range(options.repetitions)], dtype=float).mean(axis=0)
        saved = 1 - counts[0] / counts[1]
        print(f"{name}: mean width {counts[0, 0]:.0f} votes active, {counts[1, 0]:.0f} at random, {saved[0]:.0%} fewer;"
              f" widest {counts[0, 1]:.0f} active, {counts[1, 1]:.0f} at random, {saved[1]:.0%} fewer", flush=True)


if __name__ == "__main__":
    main()
