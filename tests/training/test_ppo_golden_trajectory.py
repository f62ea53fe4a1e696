"""Four phases of PPO on a tiny model, pinned. If a number moves, training has changed: say why in the commit that
changes the numbers here, and raise "ppo" in `training.pipeline.VERSIONS`, so that old results are not reused.

The pins hold on any CPU: sums in another order differ in the sixth digit, and a different draw would differ in the
first. `python -m pytest tests/training/test_ppo_golden_trajectory.py -s` prints the numbers when they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.stages import ppo

TAGS = ("reward/total", "kl/mean", "policy/loss", "value/loss", "policy/entropy", "optimizer/grad_norm")
PINNED = {
    1: (-0.28656, 0.0, -0.05179, 0.56246, 2.60257, 7.61725),
    2: (-0.09431, -0.1156, -0.0389, 0.41849, 2.62631, 7.91633),
    3: (-0.32926, 0.06559, -0.03609, 0.55548, 2.60279, 10.54304),
    4: (-0.21379, -0.22065, -0.04666, 0.48678, 2.70215, 10.14054),
}


def test_the_trajectory_is_the_pinned_one(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    job = make_job(make_recipe(tiny_base), "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": p} for p in PROMPTS])
    told = Remembering()
    ppo.run(job, tmp_path / "run", told)
    found = {step: tuple(round(values[tag], 5) for tag in TAGS) for step, values in told.metrics.items()}
    for step, numbers in PINNED.items():
        assert found[step] == pytest.approx(numbers, rel=2e-3, abs=2e-3), found
