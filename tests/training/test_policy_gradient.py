"""The mathematics of PPO, on numbers small enough to work out on paper."""

from __future__ import annotations

import math

import pytest
import torch

from training.models.token_statistics import token_statistics
from training.ppo import policy_gradient as pg

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
VALUES = torch.tensor([[1.0, 2.0, 3.0], [6.0, 99.0, 99.0]])


def test_masked_mean_and_variance_see_no_padding() -> None:
    assert pg.masked_mean(VALUES, MASK).item() == 3.0
    assert pg.masked_var(VALUES, MASK).item() == pytest.approx((4 + 1 + 0 + 9) / 4)


def test_an_empty_mask_has_mean_zero() -> None:
    assert pg.masked_mean(VALUES, torch.zeros_like(MASK)).item() == 0.0


def test_whitened_values_have_mean_zero_and_variance_one() -> None:
    white = pg.masked_whiten(VALUES, MASK)
    assert pg.masked_mean(white, MASK).item() == pytest.approx(0, abs=1e-6)
    assert pg.masked_var(white, MASK).item() == pytest.approx(1, abs=1e-5)
    assert white[1, 1:].tolist() == [0.0, 0.0]


def test_the_reward_is_on_the_last_token_and_the_kl_on_each() -> None:
    log_ratio = torch.tensor([[0.5, -1.0, 2.0], [1.0, 7.0, 7.0]])
    token_rewards = pg.token_rewards(torch.tensor([10.0, 20.0]), log_ratio, MASK, kl_coefficient=0.1)
    assert torch.allclose(token_rewards, torch.tensor([[-0.05, 0.1, 9.8], [19.9, 0.0, 0.0]]))


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]])
    values = torch.tensor([[0.5, 0.4, 0.6], [1.5, 9.0, 9.0]])
    advantages, returns = pg.advantages_and_returns(rewards, values, MASK, gamma=0.9, lam=0.5)
    # From the end: 1 - 0.6 = 0.4; 0.9 * 0.6 - 0.4 = 0.14, + 0.45 * 0.4 = 0.32; 0.9 * 0.4 - 0.5 = -0.14, + 0.45 * 0.32.
    assert advantages[0].tolist() == pytest.approx([0.004, 0.32, 0.4], abs=1e-6)
    assert returns[0].tolist() == pytest.approx([0.504, 0.72, 1.0], abs=1e-6)
    # The values on padding never enter.
    assert advantages[1].tolist() == pytest.approx([0.5, 0.0, 0.0])
    assert returns[1].tolist() == pytest.approx([2.0, 0.0, 0.0])


def test_with_lambda_one_returns_are_sums_of_rewards() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0]])
    _, returns = pg.advantages_and_returns(rewards, torch.randn(1, 3), torch.ones(1, 3), gamma=1.0, lam=1.0)
    assert returns[0].tolist() == pytest.approx([6.0, 5.0, 3.0], abs=1e-5)


def test_both_kl_estimates_agree_on_average_with_the_true_kl() -> None:
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.4, 0.2])
    true = (p * (p / q).log()).sum()
    assert (p * pg.kl_k1(p.log(), q.log())).sum().item() == pytest.approx(true.item(), abs=1e-6)
    assert (p * pg.kl_k3(p.log(), q.log())).sum().item() == pytest.approx(true.item(), abs=1e-6)
    assert bool((pg.kl_k3(p.log(), q.log()) >= 0).all())


def test_the_policy_loss_stops_rewarding_beyond_the_clip() -> None:
    ratio = torch.tensor([[1.5, 1.5, 0.5, 0.5, 1.1]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0, 2.0]])
    loss, clipped = pg.policy_loss(ratio.log(), torch.zeros(1, 5), advantages, torch.ones(1, 5), clip=0.2)
    # 1.5 counts as 1.2 when it is wanted; when it is not it counts whole; and the other way round below.
    assert loss.item() == pytest.approx(-1.2 + 1.5 - 0.5 + 0.8 - 2.2, abs=1e-6)
    assert clipped.item() == 2


def test_padding_is_in_no_loss() -> None:
    ones = torch.ones_like(MASK)
    loss, _ = pg.policy_loss(0 * ones, 0 * ones, ones, MASK, 0.2)
    assert loss.item() == -4
    assert pg.value_loss(0 * ones, 0 * ones, ones, MASK, 0.2).item() == 2


def test_the_value_loss_takes_the_worse_of_clipped_and_plain() -> None:
    values, old, returns = torch.ones(1, 3), torch.zeros(1, 3), torch.tensor([[1.0, 3.0, -1.0]])
    # Clipped to 0.2 the first is (0.2 - 1)^2 = 0.64 off, the second (0.2 - 3)^2 = 7.84; the third is (1 + 1)^2 = 4 off
    # as it is, and only 1.44 when it is clipped.
    loss = pg.value_loss(values, old, returns, torch.ones(1, 3), clip=0.2)
    assert loss.item() == pytest.approx((0.64 + 7.84 + 4) / 2)


def test_entropy_of_a_fair_and_of_a_loaded_coin() -> None:
    logits = torch.tensor([[0.0, 0.0], [50.0, -50.0]])
    _, entropy = token_statistics(logits, torch.tensor([0, 0]))
    assert entropy.tolist() == pytest.approx([math.log(2), 0.0], abs=1e-6)


def test_a_temperature_divides_the_logits() -> None:
    # Odds of 4 to 1 at temperature 1 are 2 to 1 at temperature 2.
    logprobs, _ = token_statistics(torch.tensor([[math.log(4.0), 0.0]]), torch.tensor([0]), temperature=2.0)
    assert logprobs.item() == pytest.approx(math.log(2 / 3))


@pytest.mark.parametrize("piece", [1, 14, 1 << 20])
def test_log_probabilities_are_those_of_log_softmax_gradients_too(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.models.token_statistics.PIECE", piece)
    plain = torch.randn(2, 3, 7, requires_grad=True)
    ours, tokens = plain.detach().clone().requires_grad_(), torch.randint(7, (2, 3))
    logs = torch.log_softmax(plain / 0.7, -1)
    expected = logs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    logprobs, entropy = token_statistics(ours * 1.0, tokens, temperature=0.7)
    assert torch.allclose(logprobs, expected, atol=1e-6)
    assert torch.allclose(entropy, -(logs.exp() * logs).sum(-1), atol=1e-6)
    weights = torch.randn(2, 3)
    (logprobs * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad is not None and plain.grad is not None
    assert torch.allclose(ours.grad, plain.grad, atol=1e-6)


def test_explained_variance_of_a_perfect_a_useless_and_a_harmful_critic() -> None:
    returns = torch.tensor([[1.0, 2.0, 3.0]])
    ones = torch.ones(1, 3)
    assert pg.explained_variance(returns - 5, returns, ones) == pytest.approx(1)
    assert pg.explained_variance(ones, returns, ones) == pytest.approx(0)
    assert pg.explained_variance(-returns, returns, ones) == pytest.approx(-3)
    assert pg.explained_variance(returns, ones, ones) == 0.0


@pytest.mark.parametrize(("kl", "factor"), [(6.0, 1.0), (6.6, 1.001), (60.0, 1.002), (0.0, 0.998)])
def test_the_kl_controller_is_proportional_within_its_clip(kl: float, factor: float) -> None:
    coefficient = pg.next_kl_coefficient(0.05, kl, target=6.0, samples=100, horizon=10_000)
    assert coefficient == pytest.approx(0.05 * factor)
