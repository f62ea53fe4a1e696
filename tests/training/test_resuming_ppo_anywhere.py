"""PPO stopped or killed at any phase, as often as one likes: what it goes on to is the undisturbed run, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.errors import StopRequested
from training.run.artifacts import read_json
from training.stages import ppo

pytestmark = pytest.mark.long

STEPS = 5
CLOCKS = ("time/", "throughput/")


class Killed(Exception):
    """The process ends without a word: nothing is saved."""


class Interrupted(Remembering):
    """A reporter that asks for a stop after a phase, or kills the process in it."""

    def __init__(self, how: str, phase: int) -> None:
        super().__init__()
        self._how, self._phase = how, phase

    def metric(self, step: int, values: Any) -> None:
        if (self._how, self._phase) == ("kill", step):
            raise Killed
        super().metric(step, values)

    def checkpoint_if_stopped(self, save: Any) -> None:
        if (self._how, self._phase) == ("stop", max(self.metrics, default=0)):
            save()
            raise StopRequested


def numbers(metrics: dict[int, dict[str, float]]) -> dict[int, dict[str, str]]:
    """Every metric but the clocks', digit by digit; a NaN equals itself."""
    return {step: {tag: repr(value) for tag, value in values.items() if not tag.startswith(CLOCKS)}
            for step, values in metrics.items()}


ends = st.lists(st.tuples(st.sampled_from(["stop", "kill"]), st.integers(1, STEPS)), min_size=1, max_size=2,
                unique_by=lambda end: end[1])
options = st.fixed_dictionaries({
    "critic": st.sampled_from(["shared", "separate"]), "checkpoint_every": st.integers(1, 3),
    "learning_rate_schedule": st.sampled_from(["constant", "linear", "cosine"]), "whiten_rewards": st.booleans(),
    "target_kl_stop": st.sampled_from([0.0, 0.01]), "minibatches": st.integers(1, 2),
    "kl": st.fixed_dictionaries({"adaptive": st.booleans()})})
EVERYTHING = {"critic": "separate", "checkpoint_every": 2, "learning_rate_schedule": "cosine", "whiten_rewards": True,
              "target_kl_stop": 0.01, "minibatches": 2, "kl": {"adaptive": True}}


@settings(max_examples=1, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(interruptions=ends, changes=options)
@example(interruptions=[("kill", 1), ("stop", 3)], changes=EVERYTHING)
@example(interruptions=[("stop", 1), ("kill", 4)], changes=EVERYTHING | {"critic": "shared"})
@example(interruptions=[("stop", STEPS)], changes=EVERYTHING)
@example(interruptions=[("kill", STEPS)], changes=EVERYTHING)
def test_interrupted_anywhere_it_goes_on_to_the_same_bits(
        interruptions: list[tuple[str, int]], changes: dict[str, Any], tmp_path: Path, tiny_base: Path,
        ppo_inputs: dict[str, Path]) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    recipe = make_recipe(tiny_base, ppo={"steps": STEPS, "sample_prompts": 0} | changes)
    job = make_job(recipe, "ppo", folder, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    straight = Remembering()
    ppo.run(job, folder / "straight", straight)

    metrics: dict[int, dict[str, float]] = {}
    for how, phase in sorted(interruptions, key=lambda interruption: interruption[1]):
        attempt = Interrupted(how, phase)
        with pytest.raises((StopRequested, Killed)):
            ppo.run(job, folder / "pieces", attempt)
        metrics |= attempt.metrics
    last = Remembering()
    ppo.run(job, folder / "pieces", last)

    assert numbers(metrics | last.metrics) == numbers(straight.metrics)
    summaries = [read_json(folder / name / "summary.json") for name in ("straight", "pieces")]
    straight_last, last_of_pieces = (numbers({STEPS: summary.pop("last")}) for summary in summaries)
    assert last_of_pieces == straight_last != {STEPS: {}}
    assert summaries[0] == summaries[1]
    for name in ("adapter/adapter_model.safetensors", "value_head.safetensors"):
        once, twice = load_file(folder / "straight" / name), load_file(folder / "pieces" / name)
        assert once.keys() == twice.keys()
        assert all(torch.equal(once[key], twice[key]) for key in once), name
