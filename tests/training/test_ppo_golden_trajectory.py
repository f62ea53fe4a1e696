"""Four phases of PPO on a tiny model, pinned. If a number moves, training has changed: say why in the commit that
changes the numbers here, and raise "ppo" in `training.run.pipeline.VERSIONS`, so that old results are not reused.

The pins hold on any CPU: sums in another order differ in the sixth digit, and a different draw would differ in the
first. `python -m pytest tests/training/test_ppo_golden_trajectory.py -s` prints the numbers when they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.stages import ppo

TAGS = ("reward/total", "kl/mean", "policy/loss", "value/loss", "policy/entropy", "optimizer/grad_norm")
PINNED = {
    1: (-0.32087, 0.0, -0.05077, 0.70337, 2.59986, 7.38716),
    2: (-0.46639, -0.10345, -0.03363, 0.87232, 2.64568, 10.48391),
    3: (-0.38744, 0.08479, -0.03688, 0.5839, 2.54678, 10.01422),
    4: (-0.3734, 0.03585, -0.03192, 0.58561, 2.59225, 8.49403),
}


def test_the_trajectory_is_the_pinned_one(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    job = make_job(make_recipe(tiny_base), "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": p} for p in PROMPTS])
    reporter = Remembering()
    ppo.run(job, tmp_path / "run", reporter)
    trajectory = {step: tuple(round(values[tag], 5) for tag in TAGS) for step, values in reporter.metrics.items()}
    for step, numbers in PINNED.items():
        assert trajectory[step] == pytest.approx(numbers, rel=2e-3, abs=2e-3), trajectory
