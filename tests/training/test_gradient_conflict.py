"""Conflict between principles: the cosine of their gradients, and that looking changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Lora
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.ppo import gradient_conflict
from training.stages import ppo


@pytest.fixture(scope="module")
def policy(tiny_base: Path) -> LanguageModel:
    torch.manual_seed(3)
    language = language_model.add_adapter(language_model.load(str(tiny_base), torch.device("cpu")), Lora(r=4))
    for parameter in language_model.trainable_parameters(language):
        torch.nn.init.normal_(parameter, std=0.2)
    return language


@pytest.fixture(scope="module")
def answers(policy: LanguageModel) -> rollouts.Rollout:
    ids, mask = rollouts.pad_prompts(policy, PROMPTS, 5)
    with language_model.merged(policy):
        return rollouts.generate(policy, ids, mask, rollouts.Sampling(5), torch.Generator().manual_seed(0))


def conflicts(policy: LanguageModel, answers: rollouts.Rollout, *columns: Tensor, **other: Any) -> list[float]:
    settings = {"temperature": 1.0, "micro_batch": 2} | other
    gradients = gradient_conflict.principle_gradients(policy, answers, torch.stack(columns, dim=1), **settings)
    return list(gradient_conflict.cosines("abcdef"[: len(columns)], gradients).values())


def test_the_cosine_of_gradients_worked_out_by_hand() -> None:
    gradients = torch.tensor([[3.0, 4.0], [4.0, 3.0], [-6.0, -8.0], [0.0, 0.0]])
    cosines = gradient_conflict.cosines(["a", "b", "c", "d"], gradients)
    assert cosines == pytest.approx({
        "conflict/a~b": 0.96, "conflict/a~c": -1, "conflict/a~d": 0, "conflict/b~c": -0.96, "conflict/b~d": 0,
        "conflict/c~d": 0})  # fmt: skip


def test_opposite_rewards_pull_apart_and_like_rewards_together(
    policy: LanguageModel, answers: rollouts.Rollout
) -> None:
    z = torch.tensor([0.3, -1.0, 2.0, 0.1, -0.4])
    # A reward's height and scale are no part of it: advantages are whitened.
    assert conflicts(policy, answers, z, -z, 5 * z + 7) == pytest.approx([-1, 1, -1], abs=1e-4)


def test_a_principle_that_scores_all_alike_pulls_nowhere(
    policy: LanguageModel, answers: rollouts.Rollout
) -> None:
    z = torch.tensor([0.3, -1.0, 2.0, 0.1, -0.4])
    assert conflicts(policy, answers, z, torch.zeros(5)) == [0.0]


def test_the_gradient_is_that_of_the_expected_reward(policy: LanguageModel, answers: rollouts.Rollout) -> None:
    z = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0])
    whitened = z / z.square().mean().sqrt()
    logprobs = rollouts.forward_responses(policy, answers).logprobs
    loss = -(logprobs * whitened.unsqueeze(1) * answers.mask).sum() / answers.mask.sum()
    parameters = language_model.trainable_parameters(policy)
    expected = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, parameters)])
    gradients = gradient_conflict.principle_gradients(policy, answers, z.unsqueeze(1), 1.0, micro_batch=2)
    torch.testing.assert_close(gradients[0], expected, atol=1e-5, rtol=1e-3)
    assert all(parameter.grad is None for parameter in parameters)


def test_looking_at_the_conflict_changes_no_number_of_the_run(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]
) -> None:
    reporters = {every: Remembering() for every in (0, 2)}
    for every, reporter in reporters.items():
        recipe = make_recipe(tiny_base, ppo={"conflict_every": every})
        job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
        ppo.run(job, tmp_path / str(every), reporter)
    for step, values in reporters[0].metrics.items():
        watched = dict(reporters[2].metrics[step])
        conflict = watched.pop("conflict/factuality~toxicity", None)
        assert (conflict is not None) == (step % 2 == 0)
        assert conflict is None or -1 <= conflict <= 1
        for tag, value in values.items():
            assert tag.split("/")[0] in ("time", "throughput") or watched[tag] == value, (step, tag)
