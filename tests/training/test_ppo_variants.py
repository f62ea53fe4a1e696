"""PPO's options on a tiny model: each does what it says."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.errors import DiskFull
from training.models import language_model
from training.ppo import learner
from training.ppo import policy_gradient as pg
from training.run.artifacts import Job, newest_checkpoint
from training.stages import ppo, sample

TAGS = ("policy/loss", "value/loss", "optimizer/grad_norm", "policy/entropy", "reward/total", "kl/mean")


@pytest.fixture
def job_of(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Any:
    """Makes a ppo job with some of its settings changed."""

    def make(**changes: Any) -> Job:
        recipe = make_recipe(tiny_base, ppo={"sample_prompts": 0} | changes)
        return make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])

    return make


def test_a_separate_critic_leaves_the_policy_alone_and_learns(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    changes = {"steps": 6, "batch_size": 12, "epochs": 4, "minibatches": 1, "learning_rate": 3e-3, "value_clip": 5}
    ppo.run(job_of(critic="separate", kl={"coefficient": 0.0, "adaptive": False}, **changes), tmp_path / "run",
            reporter)
    assert reporter.metrics[6]["value/loss"] < reporter.metrics[1]["value/loss"]
    saved = load_file(tmp_path / "run" / "value_head.safetensors")
    assert any(name.startswith("trunk.layers.0.") for name in saved)


def test_a_separate_critic_begins_as_the_policys_trunk_with_values_of_zero(tiny_base: Path) -> None:
    language = language_model.load(str(tiny_base), torch.device("cpu"))
    critic = language_model.make_critic(language, "separate")
    assert isinstance(critic, language_model.SeparateCritic)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(critic.hidden(input_ids=ids), language.model.model(input_ids=ids).last_hidden_state)
    assert critic(critic.hidden(input_ids=ids)).tolist() == [[0.0, 0.0, 0.0]]
    assert all(parameter.requires_grad for parameter in critic.parameters())
    assert not any(parameter.requires_grad for parameter in language.model.parameters())


def test_gradient_checkpointing_changes_no_number(job_of: Any, tmp_path: Path) -> None:
    plain, recomputed = Remembering(), Remembering()
    ppo.run(job_of(steps=2), tmp_path / "plain", plain)
    ppo.run(job_of(steps=2, gradient_checkpointing=True), tmp_path / "recomputed", recomputed)
    for tag in TAGS:
        assert recomputed.metrics[2][tag] == pytest.approx(plain.metrics[2][tag], abs=1e-4), tag


def test_epochs_end_once_the_policy_has_moved_too_far(job_of: Any, tmp_path: Path) -> None:
    stopped, unstopped = Remembering(), Remembering()
    changes = {"steps": 1, "epochs": 5, "minibatches": 1, "learning_rate": 0.05, "warmup_steps": 0}
    ppo.run(job_of(target_kl_stop=1e-4, **changes), tmp_path / "stopped", stopped)
    ppo.run(job_of(**changes), tmp_path / "unstopped", unstopped)
    # The first epoch's pass is that of the policy that answered: only the second can see that it moved.
    assert stopped.metrics[1]["optimizer/steps"] == 2
    assert unstopped.metrics[1]["optimizer/steps"] == 5


def test_how_far_the_policy_moved_is_a_mean_per_token_of_the_last_epoch_alone(job_of: Any, tmp_path: Path) -> None:
    def run(epochs: int, bound: float = 0.0) -> dict[str, float]:
        reporter = Remembering()
        changes = {"steps": 1, "minibatches": 1, "learning_rate": 0.05, "warmup_steps": 0}
        folder = tmp_path / f"{epochs}-{bound}"
        ppo.run(job_of(epochs=epochs, target_kl_stop=bound, **changes), folder, reporter)
        return reporter.metrics[1]

    # The first epoch's pass sees no move, so that the mean over two epochs is half of the second one's.
    mean = run(2)["policy/approx_kl"]
    assert run(5, bound=1.5 * mean)["optimizer/steps"] == 2
    assert run(3, bound=2.5 * mean)["optimizer/steps"] == 3


@pytest.mark.parametrize(("shape", "expected"), [
    ("constant", [0.5, 1.0, 1.0, 1.0]), ("linear", [0.5, 1.0, 1.0, 0.5]), ("cosine", [0.5, 1.0, 1.0, 0.5]),
])  # fmt: skip
def test_the_learning_rate_rises_and_falls_as_told(shape: str, expected: list[float]) -> None:
    # Two phases of warm-up of four: the way down has two, at 0 and at 1/2 of it.
    assert [pg.schedule(shape, step, 4, 2) for step in range(4)] == pytest.approx(expected)


def test_whitened_rewards_have_deviation_one_and_keep_their_mean() -> None:
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    scaled = pg.masked_scale(torch.tensor([[1.0, 3.0], [5.0, 9.0]]), mask)
    # Mean 3, population variance 8/3: -2, 0 and 2 over 1.63299, and the mean again.
    assert scaled.flatten().tolist() == pytest.approx([3 - 1.22474, 3.0, 3 + 1.22474, 0.0], abs=1e-4)


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []
    save = torch.save

    def full_at_the_third(state: Any, path: Any) -> None:
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, path)

    monkeypatch.setattr(learner.torch, "save", full_at_the_third)
    with pytest.raises(DiskFull, match=r"step 2 could not be written\. Free some space"):
        ppo.run(job_of(checkpoint_every=1), tmp_path / "run", Remembering())
    newest = newest_checkpoint(tmp_path / "run" / "checkpoint")
    assert newest is not None and newest.name == "step-00000001"
    assert not (tmp_path / "run" / "checkpoint" / "unfinished").exists()
    monkeypatch.setattr(learner.torch, "save", save)
    resumed = Remembering()
    ppo.run(job_of(checkpoint_every=1), tmp_path / "run", resumed)
    assert resumed.rewinds == [1] and sorted(resumed.metrics) == [2, 3, 4]


def test_a_full_disk_is_recognised_by_its_number_or_by_the_words_of_torch_and_safetensors() -> None:
    assert learner.is_full(OSError(errno.ENOSPC, "x")) and learner.is_full(OSError(errno.EDQUOT, "x"))
    assert learner.is_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not learner.is_full(OSError(errno.EACCES, "x")) and not learner.is_full(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("stage", ["ppo", "sample"])
def test_killed_before_its_first_checkpoint_it_begins_anew(
    job_of: Any, tmp_path: Path, tiny_base: Path, stage: str
) -> None:
    class Killed(Exception):
        pass

    class Dies(Remembering):
        def sample(self, *_: Any) -> None:
            raise Killed

        def progress(self, *_: Any) -> None:
            raise Killed

    rows = [{"prompt": prompt} for prompt in PROMPTS]
    job = job_of(sample_prompts=1, steps=1) if stage == "ppo" else make_job(make_recipe(tiny_base), "sample",
                                                                           tmp_path, prompts=rows)
    run = ppo.run if stage == "ppo" else sample.run
    with pytest.raises(Killed):
        run(job, tmp_path / "run", Dies())
    reporter = Remembering()
    run(job, tmp_path / "run", reporter)
    assert reporter.rewinds == [0]
    assert min(reporter.metrics) == 1
