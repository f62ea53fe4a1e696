"""From a sweep file to its combinations: grids, lists, draws, weights on a simplex, repetitions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from training.config import Recipe, check_recipe
from training.errors import BadSettings
from training.sweep.combinations import combination_count, combinations
from training.sweep.sweep_file import check_sweep, read_sweep


def three_principles(**changes: Any) -> Recipe:
    return check_recipe({"principles": [{"name": "factuality", "weight": 3}, {"name": "detail", "weight": 2},
                                        {"name": "conciseness", "weight": -1}], **changes})


def varied(over: dict[str, Any], recipe: Recipe | None = None) -> list[dict[str, Any]]:
    checked = check_sweep({"recipe": "demo", "over": over}).over
    made = combinations(checked, recipe or three_principles())
    assert len(made) == combination_count(checked)
    return made


def test_a_grid_makes_every_combination_and_its_last_field_varies_fastest() -> None:
    assert varied({"grid": {"ppo.steps": [1, 2], "seed": [5, 6]}}) == [
        {"ppo.steps": 1, "seed": 5}, {"ppo.steps": 1, "seed": 6},
        {"ppo.steps": 2, "seed": 5}, {"ppo.steps": 2, "seed": 6}]


def test_a_list_is_taken_as_it_is() -> None:
    """Its entries may change different fields, and a field in one entry and its section in another."""
    entries = [{"ppo.steps": 1}, {"ppo.kl.target": 2.5, "seed": 1}, {"ppo.kl": {"target": 3}}]
    assert varied({"list": entries}) == entries


def test_seeds_repeat_ppo_and_the_evaluation() -> None:
    assert varied({"seeds": [3, 1]}) == [{"repeat": 3}, {"repeat": 1}]


def test_several_ways_make_every_combination_of_theirs() -> None:
    made = varied({"seeds": [1, 2], "grid": {"ppo.steps": [7, 8, 9]}})
    assert len(made) == 6 and made[1] == {"ppo.steps": 7, "repeat": 2} and made[2] == {"ppo.steps": 8, "repeat": 1}


def test_two_weights_in_two_parts_keep_the_sum_that_they_have() -> None:
    """3 and 2: the third principle keeps its share, one sixth."""
    made = varied({"simplex": {"principles": ["factuality", "detail"], "parts": 2}})
    assert made == [{"principles.factuality.weight": first, "principles.detail.weight": second}
                    for first, second in ((0.0, 5.0), (2.5, 2.5), (5.0, 0.0))]


def test_three_weights_cover_a_triangle() -> None:
    """Four parts in three places: 15 ways; weights are positive, whatever the recipe's were."""
    made = varied({"simplex": {"principles": ["factuality", "detail", "conciseness"], "parts": 4}})
    points = {tuple(combination.values()) for combination in made}
    assert len(points) == 15 and (1.5, 1.5, 3.0) in points and min(min(point) for point in points) == 0
    assert all(math.fsum(point) == pytest.approx(6) for point in points)


def test_draws_are_within_their_range_and_the_same_for_the_same_seed() -> None:
    over = {"random": {"count": 200, "seed": 4, "fields": {
        "ppo.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}, "ppo.steps": {"low": 3, "high": 5},
        "ppo.kl.target": {"low": 1, "high": 2.5}, "scalarization.function": {"choices": ["linear", "worst_case"]}}}}
    made = varied(over)
    assert made == varied(over) != varied({"random": over["random"] | {"seed": 5}})
    rates = [combination["ppo.learning_rate"] for combination in made]
    assert min(rates) >= 1e-6 and max(rates) <= 1e-2
    assert 70 < sum(rate < 1e-4 for rate in rates) < 130  # half of the decades, not half of the numbers
    assert {combination["ppo.steps"] for combination in made} == {3, 4, 5}
    targets = [combination["ppo.kl.target"] for combination in made]
    assert 1 <= min(targets) < 1.2 and 2.3 < max(targets) <= 2.5  # one end is no whole number: any number
    assert {combination["scalarization.function"] for combination in made} == {"linear", "worst_case"}


def test_whole_numbers_are_drawn_on_a_logarithmic_scale_too() -> None:
    made = varied({"random": {"count": 100, "fields": {"ppo.steps": {"low": 1, "high": 100, "log": True}}}})
    steps = [combination["ppo.steps"] for combination in made]
    assert all(isinstance(step, int) for step in steps) and min(steps) >= 1 and max(steps) <= 100
    assert 30 < sum(step < 10 for step in steps) < 70


@pytest.mark.parametrize(("over", "words"), [
    ({}, "varies nothing; give one or more of grid, list, random, simplex and seeds"),
    ({"gird": {"seed": [1]}}, "over.gird: is not a setting of a sweep"),
    ({"grid": {"seed": []}}, "over.grid.seed"),
    ({"grid": {"ppo..steps": [1]}}, "over.grid.ppo..steps"),
    ({"list": [{}]}, "over.list.0"),
    ({"seeds": [-1]}, "over.seeds.0: must be at least 0 (given: -1)"),
    ({"random": {"count": 0, "fields": {"seed": {"choices": [1]}}}}, "over.random.count: must be at least 1"),
    ({"random": {"count": 1, "fields": {"seed": {"low": 3}}}}, "needs 'low' and 'high', or 'choices'"),
    ({"random": {"count": 1, "fields": {"seed": {"low": "few", "high": 2}}}}, "low: must be a number (given: 'few')"),
    ({"random": {"count": 1, "fields": {"seed": {"low": 3, "high": 2}}}}, "has 'low' 3 above 'high' 2"),
    ({"random": {"count": 1, "fields": {"seed": {"low": 0, "high": 2, "log": True}}}}, "give a 'low' above 0"),
    ({"random": {"count": 1, "fields": {"seed": {"choices": [1], "high": 2}}}}, "has 'choices' and a range"),
    ({"simplex": {"principles": ["detail"], "parts": 3}}, "over.simplex.principles"),
    ({"simplex": {"principles": ["detail", "detail"], "parts": 3}}, "names one twice: detail, detail"),
    ({"simplex": {"principles": ["detail", "toxicity"], "parts": 3}}, "names toxicity, which the recipe does not"),
    ({"grid": {"seed": list(range(40)), "repeat": list(range(40))}}, "'over' makes 1,600 runs; at most 1,000"),
    ({"grid": {"ppo.steps": list(range(9))}, "simplex": {"principles": ["detail", "factuality"], "parts": 999}},
     "'over' makes 9,000 runs"),
    ({"grid": {"seed": [1]}, "list": [{"seed": 2}]}, "'over' varies 'seed' in 'grid' and 'seed' in 'list'"),
    ({"grid": {"repeat": [1]}, "seeds": [2]}, "'repeat' in 'grid' and 'repeat' in 'seeds'"),
    ({"grid": {"ppo.kl": [{"target": 1}], "ppo.kl.target": [2]}}, "'ppo.kl' in 'grid' and 'ppo.kl.target' in 'grid'"),
    ({"list": [{"ppo.kl": {}, "ppo.kl.target": 2}]}, "change the same setting"),
])
def test_what_cannot_be_varied_is_said(over: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSettings) as refused:
        varied(over)
    assert words in str(refused.value)


def test_weights_that_are_fitted_are_not_varied() -> None:
    with pytest.raises(BadSettings, match="'weights.mode' is fitted, which does not read them"):
        varied({"simplex": {"principles": ["factuality", "detail"], "parts": 2}},
               three_principles(weights={"mode": "fitted"}))


def test_the_recipe_is_a_preset_a_file_beside_the_sweep_or_written_out(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: Mine\nprinciples: [{name: toxicity}]\n")
    for recipe, name in (("demo", "Demo world"), ("mine.yaml", "Mine"),
                         ("{name: Here, principles: [{name: toxicity}]}", "Here")):
        (tmp_path / "sweep.yaml").write_text(f"recipe: {recipe}\nover: {{seeds: [1]}}\nobjectives: [toxicity, kl]\n")
        sweep, base = read_sweep(tmp_path / "sweep.yaml")
        assert base.name == name and [choice.name for choice in sweep.objectives] == ["toxicity", "kl"]


@pytest.mark.parametrize(("text", "words"), [
    (None, "There is no sweep file"),
    ("recipe: nowhere.yaml\nover: {seeds: [1]}\n", "'recipe' is 'nowhere.yaml', which is neither a file beside"),
    ("recipe: 3\nover: {seeds: [1]}\n", "must be the name of a preset, a YAML file, or the settings of a recipe"),
    ("recipe: {principles: []}\nover: {seeds: [1]}\n", "The recipe cannot be used: principles"),
    ("over: {seeds: [1]}\n", "recipe: is needed"),
    ("[1, 2]\n", "The sweep cannot be used"),
    ("recipe: demo\nover: {seeds: [1]}\nobjectives: [{nam: kl}]\n", "objectives.0.name: is needed"),
    ("recipe: demo\nover: [\n", "not valid YAML"),
])
def test_a_file_that_is_no_sweep_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(BadSettings) as refused:
        read_sweep(tmp_path / "sweep.yaml")
    assert words in str(refused.value)
