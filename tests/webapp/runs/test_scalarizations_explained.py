"""Each scalarization is explained where it is chosen, beside the weights, with its own settings right below."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from django.test import Client

from training.config import Function, Scalarization
from training.reward.constraints import Constraints
from training.reward.scalarization import scalarize
from webapp.runs.form.recipe_fields import SECTIONS, specs
from webapp.runs.form.scalarizations import EXAMPLE_WEIGHTS, EXAMPLES, EXPLAINED, SHARED, cards

FUNCTIONS: tuple[Function, ...] = get_args(Function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_rewards_shown_are_those_of_the_engine(function: Function) -> None:
    thresholds = {"c": 0.5} if function == "constrained" else {}
    settings = Scalarization(function=function, thresholds=thresholds)
    limits = Constraints(["a", "b", "c"], settings).limits
    rewards = scalarize(torch.tensor(list(EXAMPLES.values())), torch.tensor(EXAMPLE_WEIGHTS), settings, limits)
    assert EXPLAINED[function].rewards == pytest.approx(rewards.tolist(), abs=0.006)


def test_every_function_and_every_setting_is_explained() -> None:
    assert tuple(EXPLAINED) == FUNCTIONS
    explained = {name for explanation in EXPLAINED.values() for name in explanation.settings}
    assert explained | {*SHARED, "function"} == set(Scalarization.model_fields)


def test_the_longest_bar_is_the_best_reward() -> None:
    card = next(card for card in cards() if card.function == "max_median")
    assert [(bar.title, bar.width, bar.is_best) for bar in card.bars] == [
        ("even", round(6 + 94 * 0.8 / 1.5, 1), False), ("one strength", 6.0, False), ("one flaw", 100.0, True),
        ("dull", round(6 + 94 * 0.2 / 1.5, 1), False)]


def test_a_functions_settings_are_shown_with_it_and_with_no_other() -> None:
    conditions = {path.partition(".")[2]: spec.condition for path, spec in specs().items()
                  if path.startswith("scalarization.")}
    assert conditions["temperature"] == "scalarization.function=soft_max_min"
    assert conditions["thresholds"] == "scalarization.function=lexicographic|constrained"
    assert conditions["function"] == conditions["caps"] == ""


def test_they_stand_beside_the_weights(owner_client: Client) -> None:
    section = next(section for section in SECTIONS if section.key == "principles")
    assert "scalarization.function" in section.essentials and "scalarization.thresholds" in section.essentials
    page = owner_client.get("/runs/new/").content.decode()
    assert page.count('class="scalarization"') == 11
    assert page.index("id_scalarization.function") < page.index("Nothing makes up for the weakest principle.") \
        < page.index("id_judge.kind")
