"""What other weights would have made of the same responses: the engine's numbers, and comparisons by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.config import Function, Scalarization, shipped_recipe
from training.errors import BadSettings
from training.reward import constraints, scalarization
from webapp.runs.form.reweighting import address_of, reweighted
from webapp.runs.rollouts import rescalarize
from webapp.runs.rollouts.what_if import WhatIf, what_if

SETTINGS: dict[Function, dict[str, float]] = {
    "linear": {}, "worst_case": {}, "soft_max_min": {"temperature": 0.7}, "uncertainty_weighted": {"penalty": 0.3},
    "lower_quantile": {"quantile": 0.5}, "max_median": {}, "bernoulli_nash": {}, "tchebycheff": {"ideal": 2.0},
    "power_mean": {"power": -1.5}, "lexicographic": {"threshold": 0.2},
}  # fmt: skip
NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize("function", SETTINGS)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (2.0, 0.0, 1.0, 1.0), (3.0, -1.0, 0.5, 0.0)])
@pytest.mark.parametrize("caps", [{}, {"a": 0.5, "b": -0.25}])
def test_rewards_are_the_engines(function: Function, weights: tuple[float, ...], caps: dict[str, float]) -> None:
    torch.manual_seed(0)
    scores = torch.randn(200, 4, dtype=torch.float64)
    scalarized = Scalarization(function=function, caps=caps, thresholds={"c": 0.6}, **SETTINGS[function])
    limits = constraints.Constraints(NAMES, scalarized).limits
    theirs = scalarization.scalarize(scores, torch.tensor(weights, dtype=torch.float64), scalarized, limits)
    ours = rescalarize.rewards_of(scores.numpy(), dict(zip(NAMES, weights, strict=True)), scalarized)
    assert np.abs(ours - theirs.numpy()).max() < 1e-6


def test_power_zero_is_the_geometric_mean() -> None:
    scores, weights = np.array([[0.0, 1.0], [2.0, -1.0]]), {"a": 1.0, "b": 3.0}
    ways = [rescalarize.rewards_of(scores, weights, Scalarization(function=function, power=0.0))
            for function in ("power_mean", "bernoulli_nash")]
    assert np.allclose(*ways)


@pytest.mark.parametrize(("function", "weights", "words"), [
    ("worst_case", {"a": -1.0, "b": 0.0}, "No principle has a weight"),
    ("linear", {"a": 0.0, "b": 0.0}, "No principle has a weight"),
    ("constrained", {"a": 1.0, "b": 1.0}, "multipliers changed"),
])
def test_what_cannot_be_computed_is_refused(function: Function, weights: dict[str, float], words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        rescalarize.rewards_of(np.zeros((2, 2)), weights, Scalarization(function=function))


def test_every_function_but_the_constrained_one_is_here() -> None:
    assert {*rescalarize.FUNCTIONS, "lexicographic", "constrained"} == set(scalarization.FUNCTIONS)
    assert rescalarize.SIGNED | {"constrained"} == scalarization.SIGNED


def compared(scores: list[list[float]], weights: dict[str, float], steps: list[int] | None = None) -> WhatIf:
    """Against a reward that was the first principle alone."""
    array = np.array(scores)
    return what_if(array, weights, Scalarization(function="linear"), array[:, 0],
                   np.array(steps or [1] * len(scores)))


def test_three_responses_by_hand() -> None:
    """By a: 1 < 2 < 3. By b: 30 > 10, 30 > 20 and 10 < 20, so that two of three pairs turn: tau -1/3."""
    result = compared([[1.0, 30.0], [2.0, 10.0], [3.0, 20.0]], {"a": 0.0, "b": 1.0})
    assert result.tau == pytest.approx(-1 / 3) and result.flipped == pytest.approx(2 / 3)
    assert result.ranks[:, 0] == pytest.approx([1 / 6, 1 / 2, 5 / 6])
    assert result.disagreements[0] == 0, "lowest before, highest after"
    assert result.groups == 0, "fewer than eight responses"


def test_pairs_that_are_equal_before_or_after_do_not_turn() -> None:
    """Six pairs: (0, 1) is equal before, (2, 3) after, and only (1, 2) and (1, 3) turn."""
    result = compared([[1.0, 1.0], [1.0, 5.0], [2.0, 3.0], [4.0, 3.0]], {"a": 0.0, "b": 1.0})
    assert result.flipped == pytest.approx(2 / 6)


def test_the_same_weights_change_nothing() -> None:
    result = compared([[value, -value] for value in range(20)], {"a": 2.0, "b": 0.0})
    assert (result.tau, result.flipped, result.picked_otherwise, result.disagreements) == (1.0, 0.0, 0.0, [])


def test_best_of_eight_picks_within_a_phase() -> None:
    """Two phases of nine: a group of eight each, the ninth is left out. By a the last of the group is picked, by b the
    first."""
    scores = [[float(value), -float(value)] for value in range(18)]
    result = compared(scores, {"a": 0.0, "b": 1.0}, [1] * 9 + [2] * 9)
    assert result.groups == 2 and result.picked_otherwise == 1.0
    assert [(change.principle, change.before, change.after) for change in result.changes] == [
        ("a", 11.5, 4.5), ("b", -11.5, -4.5)]


def test_a_reward_that_is_the_same_for_all_has_no_order() -> None:
    result = compared([[1.0, 0.0], [2.0, 0.0]], {"a": 0.0, "b": 1.0})
    assert math.isnan(result.tau) and result.flipped == 0.0


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=12))
def test_turned_pairs_are_those_that_counting_finds(scores: list[tuple[int, int]]) -> None:
    array = np.array(scores, dtype=float)
    turned = sum((array[i, 0] - array[j, 0]) * (array[i, 1] - array[j, 1]) < 0
                 for i in range(len(array)) for j in range(i))
    result = compared(array.tolist(), {"a": 0.0, "b": 1.0})
    assert result.flipped * len(array) * (len(array) - 1) / 2 == pytest.approx(turned, abs=1e-6)


def test_a_run_that_starts_with_these_weights_does_not_fit_others_in_their_place() -> None:
    demo = shipped_recipe("demo")
    fitted = demo.model_copy(update={"weights": demo.weights.model_copy(update={"mode": "fitted"})})
    tried = {choice.name: 2.0 for choice in fitted.principles} | {"toxicity": 5.0}
    started = reweighted(fitted, address_of(tried, Scalarization(function="worst_case")))
    assert started.weights.mode == "set" and started.scalarization.function == "worst_case"
    assert {choice.name: choice.weight for choice in started.principles} == tried
