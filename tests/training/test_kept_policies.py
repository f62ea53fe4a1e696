"""Policies of earlier steps that stay beside the result: which, that they are those of their steps, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import check_recipe
from training.errors import BadSettings, DiskFull, StopRequested
from training.ppo import learner
from training.run.artifacts import Job, kept_policy, write_manifest
from training.run.pipeline import plan
from training.stages import ppo

SETTINGS = {"steps": 5, "learning_rate": 0.05, "sample_prompts": 0, "checkpoint_every": 5}


@pytest.fixture
def job_of(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Any:
    def make(policy: dict[str, Any] | None = None, **changes: Any) -> Job:
        recipe = make_recipe(tiny_base, ppo=SETTINGS | changes, **({"policy": policy} if policy else {}))
        return make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    file, = folder.glob("*/*.safetensors")
    return load_file(file)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_kept_policy_is_that_of_its_step_and_keeping_changes_nothing(job_of: Any, tmp_path: Path) -> None:
    ppo.run(job_of(), tmp_path / "without", Remembering())
    ppo.run(job_of(keep_every=2), tmp_path / "with", Remembering())
    assert sorted(path.name for path in (tmp_path / "with" / "kept").iterdir()) == ["step-00000002", "step-00000004"]
    assert not (tmp_path / "without" / "kept").exists()
    last = load_file(tmp_path / "without" / "adapter" / "adapter_model.safetensors")
    assert same(last, load_file(tmp_path / "with" / "adapter" / "adapter_model.safetensors"))

    with pytest.raises(StopRequested):  # stopped after step 2: its checkpoint holds the policy of that step
        ppo.run(job_of(), tmp_path / "stopped", Remembering(stop_after=2))
    at_2 = load_file(next((tmp_path / "stopped" / "checkpoint").glob("step-*/adapter/*.safetensors")))
    kept = weights(kept_policy(tmp_path / "with", 2))
    assert same(kept, at_2) and not same(kept, last)


def test_what_is_kept_belongs_to_the_result_and_survives_a_stop(job_of: Any, tmp_path: Path) -> None:
    ppo.run(job_of(keep_every=2), tmp_path / "straight", Remembering())
    with pytest.raises(StopRequested):
        ppo.run(job_of(keep_every=2), tmp_path / "pieces", Remembering(stop_after=3))
    ppo.run(job_of(keep_every=2), tmp_path / "pieces", Remembering())
    for step in (2, 4):
        assert same(weights(kept_policy(tmp_path / "straight", step)), weights(kept_policy(tmp_path / "pieces", step)))
    assert "kept/step-00000004/adapter/adapter_model.safetensors" in write_manifest(tmp_path / "pieces")


def test_of_a_policy_trained_in_full_the_whole_model_is_kept(job_of: Any, tiny_base: Path, tmp_path: Path) -> None:
    ppo.run(job_of({"base": str(tiny_base), "lora": None}, steps=2, keep_every=1), tmp_path / "run", Remembering())
    assert (kept_policy(tmp_path / "run", 1) / "model" / "model.safetensors").is_file()


def test_a_full_disk_leaves_no_half_a_policy(job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(learner, "save_policy", full)
    with pytest.raises(DiskFull, match="the policy of step 2 could not be written"):
        ppo.run(job_of(keep_every=2), tmp_path / "run", Remembering())
    assert not (tmp_path / "run" / "kept").exists() and not (tmp_path / "run" / "checkpoint" / "unfinished").exists()


def test_a_run_that_keeps_nothing_is_the_stage_that_it_was(tiny_base: Path) -> None:
    def settings(**changes: Any) -> dict[str, Any]:
        recipe = make_recipe(tiny_base, ppo=SETTINGS | changes)
        ppo_settings: dict[str, Any] = next(stage for stage in plan(recipe) if stage.kind == "ppo").settings["ppo"]
        return ppo_settings

    assert "keep_every" not in settings() and settings(keep_every=2) == settings() | {"keep_every": 2}


def test_too_many_are_refused_with_a_number_that_is_not() -> None:
    recipe = {"principles": [{"name": "toxicity"}], "ppo": {"steps": 1000, "keep_every": 9}}
    with pytest.raises(BadSettings, match="would keep 111 policies, and at most 100 are kept; choose 10 or more"):
        check_recipe(recipe)
    assert len(check_recipe(recipe | {"ppo": {"steps": 1000, "keep_every": 10}}).ppo.kept_steps) == 99
    assert list(check_recipe(recipe | {"ppo": {"steps": 40, "keep_every": 20}}).ppo.kept_steps) == [20]
    with pytest.raises(BadSettings, match="grpo has no 'keep_every'"):
        check_recipe(recipe | {"ppo": {"algorithm": "grpo", "keep_every": 50}})
