"""Tchebycheff, power mean, lexicographic, hard constraints and caps: numbers worked by hand, limits, and laws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Recipe, Scalarization
from training.dialogue import Dialogue
from training.errors import StopRequested
from training.reward.constraints import Constraints, Limits
from training.reward.rewards import PrincipleRewards, Rewards
from training.reward.scalarization import FUNCTIONS, active, contributions, scalarize
from training.stages import ppo

NAMES = ("a", "b", "c")
SCORES = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [-1.0, 4.0, 2.0]])
WEIGHTS = torch.tensor([3.0, 2.0, 1.0])
EQUAL = torch.ones(3)


def settings(function: str, **more: Any) -> Scalarization:
    return Scalarization.model_validate({"function": function, **more})


def rewards(function: str, scores: Tensor = SCORES, weights: Tensor = WEIGHTS, **more: Any) -> list[float]:
    chosen = settings(function, **more)
    totals: list[float] = scalarize(scores, weights, chosen, Constraints(NAMES, chosen).limits).tolist()
    return totals


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_tchebycheff_is_the_largest_weighted_distance_from_the_ideal() -> None:
    # Weights 3, 2, 1 over their mean 2: 1.5, 1, 0.5. Distances from 3: (2, 5, 2.5), (3, 3, 3), (4, -1, 1).
    assert rewards("tchebycheff") == pytest.approx([-5.0, -4.5, -6.0])
    assert rewards("tchebycheff", ideal=0.0) == pytest.approx([-2.0, 0.0, -1.5])


def test_tchebycheff_with_equal_weights_is_the_worst_case_less_the_ideal() -> None:
    worst = rewards("worst_case", weights=EQUAL)
    assert rewards("tchebycheff", weights=EQUAL) == pytest.approx([value - 3 for value in worst])


@pytest.mark.parametrize("power", [1.0, -2.0, 3.0])
def test_the_power_mean_is_one_of_probabilities(power: float) -> None:
    expected = [sum(share * sigmoid(z) ** power for share, z in zip((1 / 2, 1 / 3, 1 / 6), row, strict=True))
                ** (1 / power) for row in SCORES.tolist()]
    assert rewards("power_mean", power=power) == pytest.approx(expected)


def test_the_power_mean_goes_to_the_minimum_and_passes_the_nash_product_at_zero() -> None:
    least = [sigmoid(min(row)) for row in SCORES.tolist()]
    assert rewards("power_mean", power=-100.0) == pytest.approx(least, rel=0.02)
    assert rewards("power_mean", power=0.0) == pytest.approx(rewards("bernoulli_nash"))
    assert rewards("power_mean", power=1e-4) == pytest.approx(rewards("bernoulli_nash"), rel=1e-3)


def test_first_things_first() -> None:
    # Order a, b, c; threshold 0. Row 1: a passes, b is 2 short. Row 2: all pass by 0. Row 3: a is 1 short.
    assert rewards("lexicographic") == pytest.approx([1 + math.exp(-2), 3.0, math.exp(-1)])
    assert active(SCORES, WEIGHTS, settings("lexicographic")).tolist() == [1, 2, 0]


def test_each_principle_may_have_a_threshold_of_its_own() -> None:
    # a must reach -2, so row 3 passes it; c, the last one, counts in full beyond its threshold of 0.
    assert rewards("lexicographic", thresholds={"a": -2.0})[2] == pytest.approx(3 + 2.0)


def test_principles_of_one_weight_are_one_level_and_its_lowest_decides() -> None:
    # a and b together: slacks min(1, -2), min(0, 0), min(-1, 4).
    totals = rewards("lexicographic", weights=torch.tensor([2.0, 2.0, 1.0]))
    assert totals == pytest.approx([math.exp(-2), 2.0, math.exp(-1)])


def test_a_constraint_pays_by_its_multiplier() -> None:
    # b must reach 0.5 at multiplier 2; a and c keep their shares 3/6 and 1/6 of all weights.
    totals = rewards("constrained", thresholds={"b": 0.5}, multiplier=2.0)
    assert totals[0] == pytest.approx((0.5 * 1.0 + 0.5 / 6 + 2 * (-2.0 - 0.5)) / 3)


def test_a_multiplier_grows_while_its_constraint_is_broken_and_falls_while_it_is_kept() -> None:
    constraints = Constraints(NAMES, settings("constrained", thresholds={"b": 0.5}, multiplier_rate=0.1))
    constraints.learn(torch.tensor([[0.0, -1.5, 0.0], [0.0, -0.5, 0.0]]))
    # ln 1 + 0.1 * 1 * (0.5 - (-1)) = 0.15
    assert constraints.multipliers == {"b": pytest.approx(math.exp(0.15))}
    constraints.learn(torch.tensor([[0.0, 2.5, 0.0]]))
    assert math.log(constraints.multipliers["b"]) == pytest.approx(0.15 - 0.1 * math.exp(0.15) * 2)
    assert constraints.limits.multipliers.tolist() == pytest.approx([0.0, constraints.multipliers["b"], 0.0])


def test_a_multiplier_neither_vanishes_nor_grows_without_end() -> None:
    constraints = Constraints(NAMES, settings("constrained", thresholds={"b": 0.5}, multiplier_rate=0.1))
    for score, bound in ((-1e6, 1e3), (1e6, 1e-3)):
        constraints.learn(torch.tensor([[0.0, score, 0.0]]))
        assert constraints.multipliers == {"b": pytest.approx(bound)}


def test_what_a_principle_earns_beyond_its_cap_pays_nothing() -> None:
    assert rewards("linear", caps={"b": 1.0})[2] == pytest.approx((-3 + 2 * 1.0 + 2) / 6)
    # Where the vice is asked for, the cap is on that side: -b goes no further than 1.
    turned = torch.tensor([3.0, -2.0, 1.0])
    assert rewards("linear", weights=turned, caps={"b": 1.0})[0] == pytest.approx((3 + 2 * 1.0 + 0.5) / 6)
    shares = contributions(SCORES, WEIGHTS, settings("linear"), Limits(torch.ones(3), torch.zeros(3), torch.zeros(3)))
    assert shares[2].tolist() == pytest.approx([-0.5, 1 / 3, 1 / 6])


numbers = st.floats(-5, 5, width=32)
tables = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=4)


@given(tables, st.sampled_from(list(FUNCTIONS)), st.floats(0.01, 100))
def test_only_the_ratios_of_weights_count(rows: list[list[float]], function: str, factor: float) -> None:
    scores, weights = torch.tensor(rows, dtype=torch.float64), WEIGHTS.double()
    unscaled, scaled = (scalarize(scores, factors, settings(function)) for factors in (weights, weights * factor))
    assert torch.allclose(unscaled, scaled, atol=1e-6)


@given(tables, st.sampled_from([name for name in FUNCTIONS if name not in {"uncertainty_weighted", "soft_max_min"}]),
       st.integers(0, 2), st.floats(0, 3))
def test_limits_leave_every_function_monotone(rows: list[list[float]], function: str, principle: int,
                                              gain: float) -> None:
    chosen = settings(function, caps={"a": 1.0, "c": -0.5}, thresholds={"b": 0.5, "c": -1.0}, multiplier=2.0)
    limits = Constraints(NAMES, chosen).limits
    scores = torch.tensor(rows, dtype=torch.float64)
    better = scores.clone()
    better[:, principle] += gain
    before, after = (scalarize(table, WEIGHTS.double(), chosen, limits) for table in (scores, better))
    assert bool((after >= before - 1e-9).all())


class Scripted:
    """A scorer of three principles whose raw scores are the table's rows."""

    names: Sequence[str] = NAMES
    mean, std = torch.tensor([0.5, 0.0, -1.0]), torch.tensor([2.0, 1.0, 0.5])

    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        return SCORES[: len(responses)] * 1.5 + 0.25


@pytest.mark.parametrize("function", list(FUNCTIONS))
def test_the_total_is_computed_again_from_its_parts(function: str) -> None:
    chosen = settings(function, caps={"a": 0.75}, thresholds={"b": 0.1}, multiplier=1.5)
    made = PrincipleRewards(Scripted(), dict(zip(NAMES, WEIGHTS.tolist(), strict=True)), chosen)
    rewarded: Rewards = made([[]] * 3, ["", "", ""], 2)
    assert torch.allclose(rewarded.standardised, (rewarded.raw - Scripted.mean) / Scripted.std)
    assert torch.allclose(rewarded.weighted.sum(dim=1), rewarded.total, atol=1e-6)
    assert torch.allclose(scalarize(rewarded.standardised, WEIGHTS, chosen, made.constraints.limits), rewarded.total)
    assert rewarded.active.tolist() == active(rewarded.standardised, WEIGHTS, chosen, made.constraints.limits).tolist()


@pytest.mark.parametrize(("section", "message"), [
    ({"function": "constrained"}, "needs a principle with a threshold"),
    ({"function": "constrained", "thresholds": {"factuality": 0, "toxicity": 0}}, "remove one from 'thresholds'"),
    ({"caps": {"empathy": 1.0}}, "name empathy, not in this recipe"),
])
def test_limits_that_cannot_be_are_refused_with_the_way_out(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate({"principles": [{"name": "factuality"}, {"name": "toxicity"}], "scalarization": section})


def test_a_constrained_run_that_was_stopped_goes_on_with_the_multipliers_it_had(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]
) -> None:
    bound = {"function": "constrained", "thresholds": {"toxicity": 0.5}, "multiplier_rate": 0.5}
    recipe = make_recipe(tiny_base, scalarization=bound, ppo={"sample_prompts": 0, "steps": 3})
    job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    uninterrupted, first, second = Remembering(), Remembering(stop_after=2), Remembering()
    ppo.run(job, tmp_path / "whole", uninterrupted)
    with pytest.raises(StopRequested):
        ppo.run(job, tmp_path / "cut", first)
    ppo.run(job, tmp_path / "cut", second)
    tag = "constraint/toxicity/multiplier"
    seen = [uninterrupted.metrics[step][tag] for step in (1, 2, 3)]
    assert seen[0] == 1.0 and len(set(seen)) == 3
    assert second.metrics[3][tag] == seen[2]
    assert second.metrics[3]["reward/total"] == uninterrupted.metrics[3]["reward/total"]


def test_ppo_reports_the_share_of_responses_that_each_principle_drove(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]
) -> None:
    recipe = make_recipe(tiny_base, scalarization={"function": "worst_case"}, ppo={"sample_prompts": 0, "steps": 1})
    job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    reporter = Remembering()
    ppo.run(job, tmp_path / "run", reporter)
    assert reporter.metrics[1]["active/factuality"] + reporter.metrics[1]["active/toxicity"] == pytest.approx(1.0)
