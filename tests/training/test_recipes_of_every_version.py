"""Recipes as earlier versions of Concord stored them: read to the same settings for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.config import Recipe, as_yaml, check_recipe, parse_recipe, read_stored, shipped_recipe
from training.errors import BadSettings

RECORDED = sorted((Path(__file__).parent / "recorded_recipes").glob("version-*.json"))


def settings_at(recorded: dict[str, Any], read: dict[str, Any], path: str = "") -> list[str]:
    """The settings that were recorded with another value than the one that is read now."""
    differing = []
    for name, value in recorded.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and isinstance(read.get(name), dict):
            differing += settings_at(value, read[name], f"{here}.")
        elif value != read.get(name):
            differing.append(here)
    return differing


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_a_recorded_recipe_is_read_whole_and_no_setting_has_changed(file: Path) -> None:
    recorded = json.loads(file.read_text())
    recipe, unreadable = read_stored(recorded)
    assert unreadable == []
    assert settings_at(recorded, recipe.model_dump(mode="json")) == []
    assert recipe == check_recipe(recorded) == parse_recipe(as_yaml(recipe))


def test_every_version_is_recorded() -> None:
    newest = Recipe.model_fields["version"].default
    assert {int(file.stem.split("-")[1]) for file in RECORDED} == set(range(1, newest + 1))


def test_a_recipe_without_a_version_is_of_version_1_and_is_written_with_one() -> None:
    recipe = parse_recipe("principles: [{name: toxicity}]")
    assert recipe.version == 1
    assert as_yaml(recipe).startswith("version: 1\n")
    assert as_yaml(shipped_recipe("demo")).startswith("version: 1\n")


def test_a_recipe_of_a_newer_concord_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadSettings, match=r"version: .*newer Concord; this one reads versions up to 1: upgrade"):
        parse_recipe("version: 99\nprinciples: [{name: toxicity}]")


@pytest.mark.parametrize("version", ["0", "-1", "true", "1.5", "one"])
def test_what_is_no_version_is_refused_by_its_name(version: str) -> None:
    with pytest.raises(BadSettings, match="version: "):
        parse_recipe(f"version: {version}\nprinciples: [{{name: toxicity}}]")
