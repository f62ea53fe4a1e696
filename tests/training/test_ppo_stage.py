"""The PPO stage on a tiny model: what it reports, that it counts its steps, resumes to the bit, and learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.errors import BadData, Diverged, StopRequested
from training.run.artifacts import Job, newest_checkpoint, read_json
from training.stages import ppo


@pytest.fixture
def job_of(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Any:
    """Makes a ppo job with some of its settings changed."""

    def make(prompts: list[Any] = PROMPTS, **changes: Any) -> Job:
        recipe = make_recipe(tiny_base, ppo=changes)
        return make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in prompts])

    return make


def test_each_phase_reports_the_reward_and_its_parts(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    ppo.run(job_of(), tmp_path / "run", reporter)
    assert sorted(reporter.metrics) == [1, 2, 3, 4]
    assert reporter.progressed[-1] == (4, 4)
    for values in reporter.metrics.values():
        assert all(math.isfinite(value) for value in values.values())
        parts = [values["principle/factuality/weighted"], values["principle/toxicity/weighted"]]
        assert sum(parts) == pytest.approx(values["reward/total"], abs=1e-5)
        z = (values["principle/factuality/raw"] - 0.25) / 2
        assert values["principle/factuality/standardised"] == pytest.approx(z, abs=1e-5)
        assert values["principle/factuality/weighted"] == pytest.approx(0.75 * z, abs=1e-5)


def test_the_first_phase_starts_at_the_reference(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    ppo.run(job_of(steps=1), tmp_path / "run", reporter)
    assert reporter.metrics[1]["kl/mean"] == pytest.approx(0, abs=1e-5)


def test_the_ratio_is_one_before_the_first_optimizer_step(
    job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratios: list[float] = []
    policy_loss = ppo.pg.policy_loss

    def watched(now: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float) -> Any:
        ratios.append(float(((now - old).abs() * mask).max().detach()))
        return policy_loss(now, old, advantages, mask, clip)

    monkeypatch.setattr(ppo.pg, "policy_loss", watched)
    job = job_of(steps=3, minibatches=1, epochs=2, micro_batch=6, learning_rate=0.01)
    ppo.run(job, tmp_path / "run", Remembering())
    first_of_phase, second_of_phase = ratios[::2], ratios[1::2]
    assert max(first_of_phase) < 1e-5
    assert min(second_of_phase) > 1e-4


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (3, 2), (2, 6)])
def test_optimizer_steps_are_epochs_times_minibatches(
    job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, minibatches: int
) -> None:
    taken: list[float] = []
    take_step = ppo.take_step

    def counted(*arguments: Any) -> float:
        taken.append(take_step(*arguments))
        return taken[-1]

    monkeypatch.setattr(ppo, "take_step", counted)
    ppo.run(job_of(steps=2, epochs=epochs, minibatches=minibatches), tmp_path / "run", Remembering())
    assert len(taken) == 2 * epochs * minibatches


def test_cutting_a_minibatch_into_micro_batches_changes_nothing(job_of: Any, tmp_path: Path) -> None:
    in_micro_batches, in_one_batch = Remembering(), Remembering()
    ppo.run(job_of(steps=2, micro_batch=1), tmp_path / "pieces", in_micro_batches)
    ppo.run(job_of(steps=2, micro_batch=100), tmp_path / "whole", in_one_batch)
    for tag in ("policy/loss", "value/loss", "optimizer/grad_norm", "policy/entropy", "reward/total"):
        assert in_micro_batches.metrics[2][tag] == pytest.approx(in_one_batch.metrics[2][tag], abs=1e-4), tag


def test_a_stopped_run_goes_on_to_the_same_bits(job_of: Any, tmp_path: Path) -> None:
    straight, stopped, resumed = Remembering(), Remembering(stop_after=2), Remembering()
    ppo.run(job_of(), tmp_path / "straight", straight)
    with pytest.raises(StopRequested):
        ppo.run(job_of(), tmp_path / "halves", stopped)
    ppo.run(job_of(), tmp_path / "halves", resumed)
    assert resumed.rewinds == [2]
    assert sorted(stopped.metrics) == [1, 2]
    assert sorted(resumed.metrics) == [3, 4]
    for name in ("adapter/adapter_model.safetensors", "value_head.safetensors"):
        once, twice = load_file(tmp_path / "straight" / name), load_file(tmp_path / "halves" / name)
        assert once.keys() == twice.keys()
        assert all(torch.equal(once[key], twice[key]) for key in once), name
    assert [sample for sample in straight.samples if sample[0] == 4] == [s for s in resumed.samples if s[0] == 4]


def test_a_killed_run_goes_on_from_its_last_checkpoint(job_of: Any, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class DiesAtThree(Remembering):
        def metric(self, step: int, values: Any) -> None:
            if step == 3:
                raise Killed
            super().metric(step, values)

    with pytest.raises(Killed):
        ppo.run(job_of(checkpoint_every=2), tmp_path / "run", DiesAtThree())
    (tmp_path / "run" / "checkpoint" / "unfinished").mkdir()  # what a kill while writing leaves behind
    reporter = Remembering()
    ppo.run(job_of(checkpoint_every=2), tmp_path / "run", reporter)
    assert reporter.rewinds == [2]
    assert sorted(reporter.metrics) == [3, 4]


def test_killed_after_its_last_phase_it_writes_its_adapter_and_learns_nothing_again(
    job_of: Any, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    class DiesAfterTheLastPhase(Remembering):
        def checkpoint_if_stopped(self, save: Any) -> None:
            if 4 in self.metrics:
                raise Killed

    with pytest.raises(Killed):
        ppo.run(job_of(checkpoint_every=3), tmp_path / "run", DiesAfterTheLastPhase())
    reporter = Remembering()
    ppo.run(job_of(checkpoint_every=3), tmp_path / "run", reporter)
    assert (reporter.rewinds, reporter.metrics) == ([4], {})
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_checkpoint_holds_no_pickle_to_run(job_of: Any, tmp_path: Path) -> None:
    with pytest.raises(StopRequested):
        ppo.run(job_of(), tmp_path / "run", Remembering(stop_after=1))
    checkpoint = newest_checkpoint(tmp_path / "run" / "checkpoint")
    assert checkpoint is not None
    assert torch.load(checkpoint / "state.pt", weights_only=True)["step"] == 1
    assert sorted(path.name for path in checkpoint.iterdir()) == ["adapter", "state.pt", "value_head.safetensors"]


def test_a_fixed_prompt_is_shown_without_its_system_message(job_of: Any, tmp_path: Path) -> None:
    asked, answered = [{"role": "user", "content": text} for text in ("Which bird?", "And which fish?")]
    system, owl = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "The owl."}
    reporter = Remembering()
    ppo.run(job_of(prompts=[[system, asked], [system, asked, owl, answered]], steps=1), tmp_path / "run", reporter)
    assert [sample[2] for sample in reporter.samples[:2]] == [
        "Which bird?", "System: Be brief.\n\nHuman: Which bird?\n\nAssistant: The owl.\n\nHuman: And which fish?"]


def test_fixed_prompts_are_followed_and_do_not_disturb_training(job_of: Any, tmp_path: Path) -> None:
    followed, unwatched = Remembering(), Remembering()
    ppo.run(job_of(), tmp_path / "followed", followed)
    ppo.run(job_of(sample_prompts=0), tmp_path / "unwatched", unwatched)
    assert [(step, index) for step, index, *_ in followed.samples] == [(0, 0), (0, 1), (2, 0), (2, 1), (4, 0), (4, 1)]
    assert followed.samples[0][2] == "What is the capital of Avela?"
    assert set(followed.samples[0][5]) == {"factuality", "toxicity"}
    assert unwatched.samples == []
    assert followed.metrics[4]["reward/total"] == unwatched.metrics[4]["reward/total"]


def test_a_reward_is_clipped_from_below_and_from_above_before_the_missing_end_is_charged(
    job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewards: list[torch.Tensor] = []
    credit = ppo.credit

    def watched(rollout: Any, old: Any, reward: torch.Tensor, *others: Any) -> Any:
        rewards.append(reward + 0.5 * (~rollout.ended).float())
        return credit(rollout, old, reward, *others)

    monkeypatch.setattr(ppo, "credit", watched)
    ppo.run(job_of(steps=4, reward_clip=0.05, no_eos_penalty=0.5), tmp_path / "run", Remembering())
    assert float(torch.cat(rewards).min()) == pytest.approx(-0.05)
    assert float(torch.cat(rewards).max()) == pytest.approx(0.05)


def test_the_kl_coefficient_is_steered_and_can_be_fixed(job_of: Any, tmp_path: Path) -> None:
    steered, fixed = Remembering(), Remembering()
    ppo.run(job_of(steps=2, kl={"horizon": 60, "target": 6.0}), tmp_path / "steered", steered)
    ppo.run(job_of(steps=2, kl={"adaptive": False}), tmp_path / "fixed", fixed)
    # No KL in the first phase: the full error of -0.2, times 6 answers of a horizon of 60.
    assert steered.metrics[2]["kl/coefficient"] == pytest.approx(0.05 * (1 - 0.2 * 6 / 60))
    assert fixed.metrics[2]["kl/coefficient"] == 0.05


def test_the_learning_rate_warms_up(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    ppo.run(job_of(learning_rate=1e-3, warmup_steps=4), tmp_path / "run", reporter)
    rates = [reporter.metrics[step]["optimizer/learning_rate"] for step in (1, 2, 3, 4)]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])


def test_it_learns_what_the_preference_models_reward(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    # Wide of the bound below: rounding differs between machines, and a random policy's path with it.
    changes = {"steps": 30, "batch_size": 48, "epochs": 4, "minibatches": 1, "learning_rate": 0.005, "micro_batch": 48}
    ppo.run(job_of(**changes, kl={"coefficient": 0.01, "adaptive": False}, no_eos_penalty=0), tmp_path / "run",
            reporter)
    first = sum(reporter.metrics[step]["reward/total"] for step in range(1, 6)) / 5
    last = sum(reporter.metrics[step]["reward/total"] for step in range(26, 31)) / 5
    assert last > first + 2 * reporter.metrics[1]["reward/total_std"] / math.sqrt(48)
    assert reporter.metrics[30]["kl/mean"] > 0.1


def test_a_loss_that_is_no_number_is_named(job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learners: list[ppo.Learner] = []
    load = ppo.load_learner

    def loaded(*arguments: Any) -> ppo.Learner:
        learners.append(load(*arguments))
        return learners[-1]

    class Explodes(Remembering):
        def metric(self, step: int, values: Any) -> None:
            super().metric(step, values)
            learners[0].value_head.linear.bias.data.fill_(math.inf)

    monkeypatch.setattr(ppo, "load_learner", loaded)
    reporter = Explodes()
    with pytest.raises(Diverged, match="step 2 .* lower learning rate"):
        ppo.run(job_of(), tmp_path / "run", reporter)
    assert sorted(reporter.metrics) == [1]


def test_no_prompts_is_bad_data(job_of: Any, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no prompts"):
        ppo.run(job_of(prompts=[]), tmp_path / "run", Remembering())


def test_each_pass_over_the_prompts_has_its_own_order() -> None:
    twice = [ppo.batch_indices(step, 4, 10, seed=3) for step in range(5)]
    flat = [index for batch in twice for index in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]
    assert ppo.batch_indices(2, 4, 10, seed=3) == twice[2]


def test_the_summary_tells_what_was_optimised(job_of: Any, tmp_path: Path) -> None:
    ppo.run(job_of(steps=1), tmp_path / "run", Remembering())
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["weights"] == {"factuality": 0.75, "toxicity": 0.25}
    assert summary["scalarization"]["function"] == "linear"
    assert summary["steps"] == 1
