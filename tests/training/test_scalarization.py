"""The seven scalarizations: numbers worked by hand, and laws that hold for any scores."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.config import Function, Scalarization
from training.errors import BadSettings
from training.reward.scalarization import FUNCTIONS, active, contributions, scalarize

SCORES = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 0.0, 0.0, 0.0], [-1.0, 4.0, 2.0, 1.0]])
EQUAL = torch.full((4,), 0.25)
NAMES = list(FUNCTIONS)
NOT_MONOTONE = {"uncertainty_weighted", "soft_max_min"}


def rewards(function: Function, scores: Tensor, weights: Tensor, **settings: float) -> Tensor:
    return scalarize(scores, weights, Scalarization(function=function, **settings))


def softmin(*scores: float) -> float:
    weights = [math.exp(-score) for score in scores]
    return sum(score * weight for score, weight in zip(scores, weights, strict=True)) / sum(weights)


def nash(*scores: float) -> float:
    return math.prod(1 / (1 + math.exp(-score)) for score in scores) ** (1 / len(scores))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("linear", [0.625, 0.0, 1.5]),
        ("worst_case", [-2.0, 0.0, -1.0]),
        ("soft_max_min", [softmin(1, -2, 0.5, 3), 0.0, softmin(-1, 4, 2, 1)]),
        # Means 0.625, 0, 1.5; population variances 3.171875, 0, 3.25.
        ("uncertainty_weighted", [0.625 - 3.171875 / 2, 0.0, 1.5 - 3.25 / 2]),
        # A third of four principles is more than one: the two lowest.
        ("lower_quantile", [-0.75, 0.0, 0.0]),
        ("max_median", [0.75, 0.0, 1.5]),
        ("bernoulli_nash", [nash(1, -2, 0.5, 3), 0.5, nash(-1, 4, 2, 1)]),
    ],
)
def test_worked_by_hand(function: Function, expected: list[float]) -> None:
    assert rewards(function, SCORES, EQUAL).tolist() == pytest.approx(expected, abs=1e-6)


def test_linear_takes_shares_of_the_weights() -> None:
    # 6, 2, 0, -2 are shares 0.6, 0.2, 0, -0.2.
    reward = rewards("linear", SCORES, torch.tensor([6.0, 2.0, 0.0, -2.0]))
    assert reward.tolist() == pytest.approx([0.6 - 0.4 - 0.6, 0.0, -0.6 + 0.8 - 0.2], abs=1e-6)


@pytest.mark.parametrize(("count", "lowest"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (9, 3), (12, 4)])
def test_a_third_is_rounded_up_to_whole_principles(count: int, lowest: int) -> None:
    scores = torch.arange(count, dtype=torch.float32).flip(0).unsqueeze(0)
    assert rewards("lower_quantile", scores, torch.ones(count)).item() == pytest.approx((lowest - 1) / 2)


@pytest.mark.parametrize(("count", "quantile", "lowest"), [(25, 0.28, 7), (50, 0.14, 7), (25, 0.281, 8)])
def test_a_rounding_error_takes_no_further_principle_into_the_lower_quantile(
        count: int, quantile: float, lowest: int) -> None:
    scores = torch.arange(count, dtype=torch.float32).unsqueeze(0)
    reward = rewards("lower_quantile", scores, torch.ones(count), quantile=quantile)
    assert reward.item() == pytest.approx((lowest - 1) / 2)


def test_the_median_of_an_odd_number_is_the_middle_one() -> None:
    assert rewards("max_median", SCORES[:, :3], torch.ones(3)).tolist() == [0.5, 0.0, 2.0]


@pytest.mark.parametrize("function", ["worst_case", "soft_max_min", "uncertainty_weighted", "lower_quantile",
                                      "max_median"])  # fmt: skip
def test_weights_only_choose_where_order_decides(function: Function) -> None:
    uneven = torch.tensor([5.0, 0.0, 1.0, -3.0])
    assert torch.equal(rewards(function, SCORES, uneven), rewards(function, SCORES[:, [0, 2]], torch.ones(2)))


def test_a_negative_weight_in_the_nash_product_asks_for_the_opposite() -> None:
    turned = rewards("bernoulli_nash", SCORES, torch.tensor([1.0, -1.0, 1.0, 1.0]))
    opposite = SCORES * torch.tensor([1.0, -1.0, 1.0, 1.0])
    assert turned.tolist() == pytest.approx(rewards("bernoulli_nash", opposite, EQUAL).tolist())


@pytest.mark.parametrize("function", NAMES)
def test_weights_that_leave_nobody_are_refused(function: Function) -> None:
    with pytest.raises(BadSettings, match="above zero"):
        rewards(function, SCORES, torch.zeros(4))


def test_a_softer_minimum_hardens_to_the_minimum_and_melts_to_the_mean() -> None:
    assert torch.allclose(rewards("soft_max_min", SCORES, EQUAL, temperature=0.01), SCORES.amin(dim=1), atol=1e-6)
    assert torch.allclose(rewards("soft_max_min", SCORES, EQUAL, temperature=100), SCORES.mean(dim=1), atol=0.05)


def test_the_softer_minimum_of_the_paper_is_not_monotone() -> None:
    low = rewards("soft_max_min", torch.tensor([[0.0, 2.0]]), torch.ones(2))
    higher = rewards("soft_max_min", torch.tensor([[0.0, 3.0]]), torch.ones(2))
    assert higher < low


def test_disagreement_costs() -> None:
    agreed = rewards("uncertainty_weighted", torch.tensor([[1.0, 1.0]]), torch.ones(2))
    divided = rewards("uncertainty_weighted", torch.tensor([[0.0, 2.0]]), torch.ones(2))
    assert (agreed.item(), divided.item()) == (1.0, 0.5)


numbers = st.floats(-5, 5, width=32)
rows = st.integers(1, 6).flatmap(lambda k: st.lists(st.lists(numbers, min_size=k, max_size=k), min_size=1, max_size=5))


@given(rows, st.sampled_from(NAMES), st.randoms())
def test_the_order_of_principles_does_not_matter(scores: list[list[float]], function: Function, rng: object) -> None:
    z = torch.tensor(scores, dtype=torch.float64)
    weights = torch.arange(1, z.shape[1] + 1, dtype=torch.float64)
    order = torch.randperm(z.shape[1])
    assert torch.allclose(rewards(function, z, weights), rewards(function, z[:, order], weights[order]), atol=1e-9)


@given(rows, st.sampled_from(NAMES))
def test_a_row_never_depends_on_its_neighbours(scores: list[list[float]], function: Function) -> None:
    z = torch.tensor(scores, dtype=torch.float64)
    weights = torch.ones(z.shape[1], dtype=torch.float64)
    together = rewards(function, z, weights)
    alone = torch.cat([rewards(function, row.unsqueeze(0), weights) for row in z])
    assert torch.allclose(together, alone, atol=1e-9)


@given(rows, st.sampled_from([name for name in NAMES if name not in NOT_MONOTONE]), st.integers(0, 5), st.floats(0, 3))
def test_a_better_score_never_makes_a_worse_reward(
    scores: list[list[float]], function: Function, principle: int, gain: float
) -> None:
    z = torch.tensor(scores, dtype=torch.float64)
    weights = torch.ones(z.shape[1], dtype=torch.float64)
    better = z.clone()
    better[:, principle % z.shape[1]] += gain
    assert bool((rewards(function, better, weights) >= rewards(function, z, weights) - 1e-9).all())


@given(rows, st.sampled_from(NAMES), st.lists(numbers, min_size=6, max_size=6))
def test_contributions_add_up_to_the_reward(scores: list[list[float]], function: Function, drawn: list[float]) -> None:
    z = torch.tensor(scores, dtype=torch.float64)
    weights = torch.tensor(drawn, dtype=torch.float64)[: z.shape[1]]
    weights[0] = weights[0].abs() + 0.1
    settings = Scalarization(function=function)
    parts = contributions(z, weights, settings)
    assert parts.shape == z.shape
    assert torch.allclose(parts.sum(dim=1), scalarize(z, weights, settings), atol=1e-9)


def test_the_minimum_carries_the_whole_reward() -> None:
    parts = contributions(SCORES, EQUAL, Scalarization(function="worst_case"))
    assert parts[0].tolist() == [0.0, -2.0, 0.0, 0.0]


def test_a_perfect_nash_product_is_shared_by_weight() -> None:
    parts = contributions(torch.full((1, 2), 80.0), torch.tensor([3.0, 1.0]), Scalarization(function="bernoulli_nash"))
    assert parts[0].tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(
    ("function", "drivers"),
    [("linear", [3, 0, 1]), ("worst_case", [1, 0, 0]), ("lower_quantile", [1, 0, 0]), ("soft_max_min", [1, 0, 0]),
     ("max_median", [2, 1, 3]), ("bernoulli_nash", [1, 0, 0])],
)  # fmt: skip
def test_who_drives_the_reward(function: Function, drivers: list[int]) -> None:
    assert active(SCORES, EQUAL, Scalarization(function=function)).tolist() == drivers


def test_the_driver_is_named_by_its_place_among_all_principles() -> None:
    only_last_two = torch.tensor([0.0, -1.0, 1.0, 1.0])
    assert active(SCORES, only_last_two, Scalarization(function="worst_case")).tolist() == [2, 2, 3]
