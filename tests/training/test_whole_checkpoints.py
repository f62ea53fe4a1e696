"""A checkpoint of sft, GRPO and RLOO is whole or not there: a kill while one is written costs what came after the one
before it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.errors import StopRequested
from training.models import trainer_checkpoints
from training.models.trainer_checkpoints import newest_whole, remembered, step_of
from training.run.artifacts import Job, read_json, write_json
from training.stages import ppo, sft

DIALOGUES = [{"prompt": prompt, "response": "The bird of Avela is the owl."} for prompt in PROMPTS] * 4
CONSTRAINED = {"function": "constrained", "thresholds": {"toxicity": 0.5}, "multiplier_rate": 0.5}
Run = Callable[[Job, Path, Any], None]
KINDS = ("sft", "grpo", "rloo")


class Killed(BaseException):
    """The process ends without a word."""


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path],
          monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Job, Path]:
    """A stage of four optimizer steps, or phases of one, with a checkpoint after each; and its result."""
    if request.param == "sft":
        monkeypatch.setattr(sft, "CHECKPOINT_EVERY", 1)
        settings = {"enabled": True, "batch_size": 10, "learning_rate": 0.02, "epochs": 2}
        job = make_job(make_recipe(tiny_base, sft=settings), "sft", tmp_path, dialogues=DIALOGUES)
        return sft.run, job, Path("model/model.safetensors")
    changes = {"algorithm": request.param, "group_size": 3, "epochs": 1, "minibatches": 1, "micro_batch": 3, "steps": 4,
               "sample_prompts": 0, "checkpoint_every": 1}
    recipe = make_recipe(tiny_base, ppo=changes, scalarization=CONSTRAINED)
    job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    return ppo.run, job, Path("adapter/adapter_model.safetensors")


def stop_after(stage: tuple[Run, Job, Path], folder: Path, steps: int) -> None:
    with pytest.raises(StopRequested):
        stage[0](stage[1], folder, Remembering(stop_after=steps))


def assert_same_result(stage: tuple[Run, Job, Path], folder: Path, straight: Path) -> None:
    once, twice = (load_file(where / stage[2]) for where in (straight, folder))
    assert once.keys() == twice.keys() and all(torch.equal(once[key], twice[key]) for key in once)
    if stage[2].parts[0] == "adapter":
        summaries = [read_json(where / "summary.json") for where in (straight, folder)]
        for summary in summaries:
            assert summary["last"].pop("throughput/samples_per_second") > 0
        assert summaries[0] == summaries[1] and set(summaries[0]["multipliers"]) == {"toxicity"}


@pytest.mark.parametrize("stage", KINDS, indirect=True)
@pytest.mark.long
def test_a_kill_while_a_checkpoint_is_written_costs_nothing_before_it(
    stage: tuple[Run, Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five prompts are gone through twice: the order of the second pass is gone on with too."""
    run, job, _ = stage
    run(job, tmp_path / "straight", Remembering())
    publish = trainer_checkpoints.os.replace
    for step in (2, 4) if run is sft.run else (3,):
        folder = tmp_path / f"killed-{step}"

        def kill(source: Any, target: Any, name: str = f"checkpoint-{step}") -> None:
            if Path(target).name == name:
                raise Killed
            publish(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(trainer_checkpoints.os, "replace", kill)
            with pytest.raises(Killed):
                run(job, folder, Remembering())
        reporter = Remembering()
        run(job, folder, reporter)
        assert reporter.rewinds == [step - 1] and sorted(reporter.metrics) == list(range(step, 5))
        assert_same_result(stage, folder, tmp_path / "straight")


def truncated(checkpoint: Path) -> None:
    file = checkpoint / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:100])


def emptied(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut short": truncated,
    "without its state": lambda checkpoint: (checkpoint / "trainer_state.json").unlink(),
    "without weights": lambda checkpoint: (checkpoint / "adapter_model.safetensors").unlink(),
    "empty": emptied,
}


@pytest.mark.parametrize("stage", ["sft", "grpo"], indirect=True)
def test_a_half_checkpoint_is_passed_over_for_the_one_before(stage: tuple[Run, Job, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoints = folder / "checkpoint"
    stop_after(stage, folder, 2)
    [complete] = checkpoints.glob("checkpoint-*")
    assert step_of(complete) == 2
    for number, damage in enumerate(DAMAGES.values(), 3):
        half = shutil.copytree(complete, checkpoints / f"checkpoint-{number}")
        assert newest_whole(checkpoints) == half
        damage(half)
        assert newest_whole(checkpoints) == complete
    reporter = Remembering()
    stage[0](stage[1], folder, reporter)
    assert reporter.rewinds == [2] and sorted(reporter.metrics) == [3, 4]


@pytest.mark.parametrize("stage", ["grpo"], indirect=True)
def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(stage: tuple[Run, Job, Path], tmp_path: Path) -> None:
    stage[0](stage[1], tmp_path / "straight", Remembering())
    folder = tmp_path / "run"
    stop_after(stage, folder, 1)
    checkpoint = newest_whole(folder / "checkpoint")
    assert checkpoint is not None
    write_json(checkpoint / "multipliers.json", remembered(checkpoint)["multipliers"])
    (checkpoint / "state.json").unlink()
    reporter = Remembering()
    stage[0](stage[1], folder, reporter)
    assert reporter.rewinds == [1]
    assert_same_result(stage, folder, tmp_path / "straight")


@pytest.mark.parametrize("stage", ["sft", "grpo"], indirect=True)
def test_no_checkpoint_asks_the_hub_about_the_base(stage: tuple[Run, Job, Path], tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    save, asked_for = PeftModel.save_pretrained, []

    def watched(adapter: PeftModel, folder: str, *arguments: Any, **settings: Any) -> None:
        asked_for.append(settings.get("save_embedding_layers", "auto"))
        save(adapter, folder, *arguments, **settings)

    monkeypatch.setattr(PeftModel, "save_pretrained", watched)
    stage[0](stage[1], tmp_path / "run", Remembering())
    assert len(asked_for) >= 4 and set(asked_for) == {False}, "with 'auto' peft looks the base up on the hub"


@pytest.mark.parametrize("stage", ["grpo", "rloo"], indirect=True)
def test_a_stop_in_the_last_phase_loses_no_number(stage: tuple[Run, Job, Path], tmp_path: Path) -> None:
    stage[0](stage[1], tmp_path / "straight", Remembering())
    stop_after(stage, tmp_path / "run", 4)
    stage[0](stage[1], tmp_path / "run", Remembering())
    assert_same_result(stage, tmp_path / "run", tmp_path / "straight")
