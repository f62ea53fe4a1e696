"""The policy that samples and the policy that is read: how far they are apart is measured, and corrected for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.models import language_model, rollouts
from training.models.rollouts import Rollout, Sampling
from training.ppo import policy_gradient as pg
from training.stages import ppo

ONES = torch.ones(1, 2)


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


@pytest.mark.parametrize(("sampling", "expected"), [
    (Sampling(1), [0.2, 0.5, 0.3]),
    (Sampling(1, temperature=0.5), [0.04 / 0.38, 0.25 / 0.38, 0.09 / 0.38]),  # squares over their sum
    (Sampling(1, top_p=0.7), [0.0, 0.625, 0.375]),  # what is left of 1 without the first
    (Sampling(1, temperature=0.0), [0.0, 1.0, 0.0]),
])  # fmt: skip
def test_a_token_remembers_the_probability_that_it_was_drawn_with(sampling: Sampling, expected: list[float]) -> None:
    logits = logs(0.2, 0.5, 0.3).expand(300, 3)
    tokens, logprobs = rollouts.draw(logits, sampling, torch.Generator().manual_seed(0))
    assert set(tokens.tolist()) == {token for token, probability in enumerate(expected) if probability}
    assert logprobs.exp().tolist() == pytest.approx([expected[token] for token in tokens.tolist()], abs=1e-6)


@pytest.mark.parametrize("way", [rollouts.generate, rollouts.generate_static])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_in_fp32_what_was_sampled_is_what_is_read(way: Any, temperature: float, tiny_base: Path) -> None:
    """Rows of different lengths, some of which leave the batch before the others end."""
    language = language_model.load(tiny_base, torch.device("cpu"))
    ids, mask = rollouts.pad_prompts(language, PROMPTS * 3, 12)
    rollout = way(language, ids, mask, Sampling(12, temperature), torch.Generator().manual_seed(0))
    with torch.no_grad():
        read = rollouts.forward_responses(language, rollout, temperature).logprobs * rollout.mask
    assert rollout.logprobs is not None and len(set(rollout.mask.sum(dim=1).tolist())) > 1
    assert (rollout.logprobs * (1 - rollout.mask) == 0).all()
    torch.testing.assert_close(rollout.logprobs, read, rtol=0, atol=2e-5)
    rows = torch.tensor([1, 4])
    chosen = rollouts.select(rollout, rows)
    assert chosen.logprobs is not None
    assert torch.equal(chosen.logprobs, rollout.logprobs[rows, : chosen.mask.shape[1]])


def test_the_divergence_and_the_weights_by_hand() -> None:
    kl, weights = pg.sampling_weights(logs(0.5, 0.25), logs(0.25, 0.75), ONES)
    # k3 with ratios 1/2 and 3: (1/2 - 1 + log 2) and (3 - 1 - log 3); the second weight is truncated.
    assert kl == pytest.approx((math.log(2) - 0.5 + 2 - math.log(3)) / 2)
    assert weights is not None and weights.tolist() == [[pytest.approx(0.5), 2.0]]


def test_padding_is_no_divergence() -> None:
    assert pg.sampling_weights(logs(0.5, 0.9), logs(0.5, 0.1), torch.tensor([[1.0, 0.0]])) == (0.0, None)


def test_a_difference_of_rounding_is_left_alone() -> None:
    kl, weights = pg.sampling_weights(logs(0.5, 0.25), logs(0.5, 0.25) + 1e-4, ONES)
    assert 0 < kl < pg.NEGLIGIBLE_KL and weights is None


def test_the_weights_take_the_bias_out_of_the_gradient() -> None:
    """Three tokens, every one of them drawn as often as the sampler draws it: the expected gradient is exact."""
    sampler, advantages = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([1.0, -0.5, 2.0])
    logits = torch.tensor([0.3, 0.4, 0.3]).log().requires_grad_()

    def gradient(drawn_with: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        logprobs = logits.log_softmax(dim=0)
        losses = [pg.policy_loss(logprobs[None, [token]], logprobs[None, [token]].detach(),
                                 (advantages * weights)[None, [token]], torch.ones(1, 1), clip=0.2)[0]
                  for token in range(3)]  # fmt: skip
        return torch.autograd.grad((drawn_with * torch.stack(losses)).sum(), logits)[0]

    policy = logits.detach().exp()
    expected = gradient(policy, torch.ones(3))
    _, weights = pg.sampling_weights(sampler.log()[None], policy.log()[None], torch.ones(1, 3))
    assert weights is not None
    assert (gradient(sampler, torch.ones(3)) - expected).abs().max() > 0.05
    torch.testing.assert_close(gradient(sampler, weights[0]), expected)


class Phases:
    """Runs PPO and remembers the advantages of each phase with and without the correction."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs: list[tuple[ppo.Experience, ppo.Experience]] = []
        correct = ppo.correct_sampling

        def watched(experience: ppo.Experience) -> tuple[float, ppo.Experience]:
            kl, corrected = correct(experience)
            self.pairs.append((experience, corrected))
            return kl, corrected

        monkeypatch.setattr(ppo, "correct_sampling", watched)

    def run(self, folder: Path, base: Path, inputs: dict[str, Path], **sections: Any) -> Remembering:
        recipe = make_recipe(base, ppo={"steps": 3, "learning_rate": 0.01, "sample_prompts": 0}, **sections)
        job = make_job(recipe, "ppo", folder, inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
        reporter = Remembering()
        ppo.run(job, folder / "run", reporter)
        return reporter


@pytest.fixture
def phases(monkeypatch: pytest.MonkeyPatch) -> Phases:
    return Phases(monkeypatch)


def test_fp32_on_a_cpu_has_nothing_to_correct(
        phases: Phases, tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    reporter = phases.run(tmp_path, tiny_base, ppo_inputs)
    assert all(abs(values["policy/sampling_kl"]) < 1e-6 for values in reporter.metrics.values())
    assert all(corrected is experience for experience, corrected in phases.pairs)


def test_an_adapter_merged_into_bf16_is_another_sampler(
        phases: Phases, tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    reporter = phases.run(tmp_path, tiny_base, ppo_inputs, precision="bf16")
    divergences = [values["policy/sampling_kl"] for values in reporter.metrics.values()]
    assert abs(divergences[0]) < pg.NEGLIGIBLE_KL < min(divergences[1:]), "the new adapter is zero, and rounds nothing"
    assert [corrected is experience for experience, corrected in phases.pairs] == [True, False, False]


def test_a_hotter_sampler_is_noticed_and_corrected(
        phases: Phases, tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path],
        monkeypatch: pytest.MonkeyPatch) -> None:
    generate = rollouts.generate

    def hotter(language: Any, ids: Any, mask: Any, sampling: Sampling, generator: Any) -> Rollout:
        return generate(language, ids, mask, sampling._replace(temperature=1.5), generator)

    monkeypatch.setattr(ppo.rollouts, "generate", hotter)
    reporter = phases.run(tmp_path, tiny_base, ppo_inputs)
    assert all(values["policy/sampling_kl"] > 0.01 for values in reporter.metrics.values())
    for experience, corrected in phases.pairs:
        assert experience.rollout.logprobs is not None
        weights = (experience.old.logprobs - experience.rollout.logprobs).exp().clamp(max=2)
        torch.testing.assert_close(corrected.advantages, experience.advantages * weights)
        assert torch.equal(corrected.returns, experience.returns)
