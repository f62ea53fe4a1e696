"""GRPO and RLOO through TRL: the same stage, the same reward, the same report as PPO."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Ppo
from training.errors import BadData, StopRequested
from training.models import language_model
from training.run.artifacts import Job, read_json
from training.stages import ppo

ALGORITHMS = ("grpo", "rloo")


@pytest.fixture
def job_of(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Any:
    """Makes a ppo job of an algorithm with some of its settings changed."""

    def make(algorithm: str, prompts: list[Any] = PROMPTS, scalarization: Any = None, **changes: Any) -> Job:
        few = {"algorithm": algorithm, "group_size": 3, "steps": 3, "epochs": 2, "minibatches": 1, "micro_batch": 3}
        recipe = make_recipe(tiny_base, ppo=few | changes, scalarization=scalarization or {})
        return make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in prompts])

    return make


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_reports_what_ppo_reports(job_of: Any, tmp_path: Path, tiny_base: Path, algorithm: str) -> None:
    reporter, as_ppo = Remembering(), Remembering()
    ppo.run(job_of(algorithm), tmp_path / "run", reporter)
    ppo.run(job_of("ppo", steps=1), tmp_path / "ppo", as_ppo)
    assert sorted(reporter.metrics) == [1, 2, 3] and reporter.rewinds == [0]
    assert reporter.progressed == [(1, 3), (2, 3), (3, 3)]
    assert [sample[:2] for sample in reporter.samples] == [(step, index) for step in (0, 2, 3) for index in (0, 1)]
    assert reporter.samples[:2] == as_ppo.samples[:2]  # both start from the same policy, drawn with the same numbers
    shared_groups = {"principle", "reward", "response", "kl"}
    words = {tag for tag in as_ppo.metrics[1] if tag.split("/")[0] in shared_groups}
    words |= {"policy/loss", "policy/entropy", "policy/clip_fraction", "optimizer/grad_norm", "optimizer/learning_rate"}
    assert words <= set(reporter.metrics[3]) and words <= set(as_ppo.metrics[1])
    for values in reporter.metrics.values():
        assert all(math.isfinite(value) for value in values.values())
        parts = [values["principle/factuality/weighted"], values["principle/toxicity/weighted"]]
        assert sum(parts) == pytest.approx(values["reward/total"], abs=1e-5)
    language = language_model.load(str(tiny_base), torch.device("cpu"))
    language_model.load_adapter(language, tmp_path / "run" / "adapter")
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["algorithm"] == algorithm and summary["weights"] == {"factuality": 0.75, "toxicity": 0.25}
    assert summary["last"]["reward/total"] == reporter.metrics[3]["reward/total"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stopped_run_goes_on_to_the_same_bits(job_of: Any, tmp_path: Path, algorithm: str) -> None:
    straight, stopped, resumed = Remembering(), Remembering(stop_after=1), Remembering()
    constrained = {"function": "constrained", "thresholds": {"toxicity": 0.5}, "multiplier_rate": 0.5}
    job = job_of(algorithm, scalarization=constrained)
    ppo.run(job, tmp_path / "straight", straight)
    with pytest.raises(StopRequested):
        ppo.run(job, tmp_path / "halves", stopped)
    assert sorted(stopped.metrics) == [1]
    ppo.run(job, tmp_path / "halves", resumed)
    multipliers = [straight.metrics[step]["constraint/toxicity/multiplier"] for step in (1, 2, 3)]
    assert multipliers[0] == 1 and len(set(multipliers)) == 3  # they learn, and a checkpoint keeps them
    assert resumed.rewinds == [1] and sorted(resumed.metrics) == [2, 3]
    for step, values in (stopped.metrics | resumed.metrics).items():
        for tag, value in values.items():
            if not tag.startswith("throughput/"):
                assert value == straight.metrics[step][tag], (step, tag)
    once, twice = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
                   for name in ("straight", "halves"))  # fmt: skip
    assert all(torch.equal(once[key], twice[key]) for key in once)


@pytest.mark.long
def test_it_learns_what_the_preference_models_reward(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    changes = {"steps": 25, "batch_size": 24, "group_size": 8, "epochs": 2, "learning_rate": 0.006, "micro_batch": 24,
               "sample_prompts": 0, "no_eos_penalty": 0, "kl": {"coefficient": 0.01}}  # fmt: skip
    ppo.run(job_of("rloo", **changes), tmp_path / "run", reporter)
    first = sum(reporter.metrics[step]["reward/total"] for step in range(1, 6)) / 5
    last = sum(reporter.metrics[step]["reward/total"] for step in range(21, 26)) / 5
    assert last > first + 2 * reporter.metrics[1]["reward/total_std"] / math.sqrt(24)


def test_a_group_that_does_not_fill_the_batch_is_refused_with_the_nearest_that_does(tiny_base: Path) -> None:
    with pytest.raises(ValidationError, match="batch_size 64 is not a multiple of group_size 12; choose 60"):
        make_recipe(tiny_base, ppo={"algorithm": "grpo", "batch_size": 64, "group_size": 12, "minibatches": 1})
    with pytest.raises(ValidationError, match="cannot be divided into 5 equal minibatches"):
        make_recipe(tiny_base, ppo={"algorithm": "grpo", "batch_size": 64, "group_size": 8, "minibatches": 5})
    make_recipe(tiny_base, ppo={"batch_size": 64, "group_size": 12, "minibatches": 5})  # nothing to PPO


def test_too_few_prompts_for_a_phase_are_told_with_the_way_out(job_of: Any, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"answers 2 prompts, there are 1\. Lower 'ppo.batch_size' from 6 to 3"):
        ppo.run(job_of("grpo", prompts=PROMPTS[:1]), tmp_path / "run", Remembering())



@pytest.mark.parametrize(("name", "value"), [
    ("critic", "separate"), ("learning_rate_schedule", "cosine"), ("target_kl_stop", 0.1), ("whiten_rewards", True),
    ("gradient_checkpointing", True), ("conflict_every", 5),
])
def test_a_setting_that_only_ppo_has_is_refused_and_not_passed_over(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=f"grpo has no '{name}'; leave it at .*, or choose the algorithm ppo"):
        Ppo.model_validate({"algorithm": "grpo", "batch_size": 16, name: value})
    Ppo.model_validate({"algorithm": "ppo", "batch_size": 16, name: value})
