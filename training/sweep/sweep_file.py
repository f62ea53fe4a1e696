"""The sweep file: a recipe, what is varied over, and the objectives of the front; read from YAML and checked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, field_validator, model_validator

from training.config import Preset, Recipe, Section, check_recipe, field_errors, read_yaml_text, shipped_recipe
from training.errors import BadSettings

MOST_RUNS = 1000
FieldPath = Annotated[str, StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=300)]
"""A setting of the recipe with dots between its parts, such as `ppo.kl.coefficient` or `principles.detail.weight`."""


def _is_number(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not is_number:
        raise ValueError("must be a number")
    return value


Number = Annotated[Any, AfterValidator(_is_number)]
"""An int or a float, kept as which of them it was written."""


class Draw(Section):
    """What a field is drawn from: a range, or some choices."""

    low: Number = None
    high: Number = None
    log: bool = False
    choices: list[Any] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("has 'choices' and a range; give one of them")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs 'low' and 'high', or 'choices'")
        if self.low > self.high:
            raise ValueError(f"has 'low' {self.low} above 'high' {self.high}; exchange them")
        if self.log and self.low <= 0:
            raise ValueError(f"is drawn on a logarithmic scale from 'low' {self.low}; give a 'low' above 0")
        return self


class Random(Section):
    count: int = Field(ge=1, le=MOST_RUNS)
    seed: int = Field(0, ge=0)
    fields: dict[FieldPath, Draw] = Field(min_length=1)


class Simplex(Section):
    principles: list[str] = Field(min_length=2, max_length=8)
    parts: int = Field(ge=1, le=MOST_RUNS)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        if len(set(self.principles)) < len(self.principles):
            raise ValueError(f"'principles' names one twice: {', '.join(self.principles)}; remove one")
        return self


class Over(Section):
    """What is varied. Several ways together make every combination of theirs."""

    grid: dict[FieldPath, Annotated[list[Any], Field(min_length=1)]] | None = Field(None, min_length=1)
    listed: list[Annotated[dict[FieldPath, Any], Field(min_length=1)]] | None = Field(None, min_length=1, alias="list")
    random: Random | None = None
    simplex: Simplex | None = None
    seeds: list[Annotated[int, Field(ge=0, le=1_000_000)]] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _varies_something(self) -> Self:
        if all(way is None for way in (self.grid, self.listed, self.random, self.simplex, self.seeds)):
            raise ValueError("varies nothing; give one or more of grid, list, random, simplex and seeds")
        return self


class ObjectiveChoice(Section):
    """An objective of the front. `reference` is the worst value that counts in the hypervolume; None: the default."""

    name: str = Field(min_length=1, max_length=100)
    reference: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class SweepFile(Section):
    """A whole sweep; `recipe` is the name of a preset, a YAML file beside this one, or the recipe itself."""

    recipe: Any
    over: Over
    objectives: tuple[ObjectiveChoice, ...] = Field((), max_length=12)

    @field_validator("recipe")
    @classmethod
    def _is_a_name_or_a_recipe(cls, recipe: Any) -> Any:
        if not isinstance(recipe, str | dict):
            raise ValueError("must be the name of a preset, a YAML file, or the settings of a recipe")
        return recipe


def read_sweep(path: Path) -> tuple[SweepFile, Recipe]:
    """A sweep file and the recipe that it varies.

    Raises:
        BadSettings: naming each field, its value and what is wrong with it.
    """
    if not path.is_file():
        raise BadSettings(f"There is no sweep file '{path}'.", "Give a YAML file with 'recipe' and 'over'.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadSettings(f"'{path}' is no text in UTF-8.", "Give a YAML file with 'recipe' and 'over'.") from error
    sweep = check_sweep(read_yaml_text(text))
    return sweep, _base_recipe(sweep.recipe, path.parent)


def check_sweep(value: Any) -> SweepFile:
    """The sweep that a mapping describes. Raises BadSettings, which names each field that is wrong."""
    try:
        return SweepFile.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(f"{'sweep' if field == 'recipe' and not isinstance(value, dict) else field}: "
                             f"{message.replace('a setting of a recipe', 'a setting of a sweep')}"
                             for field, message in field_errors(error))
        raise BadSettings(f"The sweep cannot be used: {problems}.", "Change these fields and try again.") from error


def _base_recipe(recipe: str | dict[str, Any], folder: Path) -> Recipe:
    if not isinstance(recipe, str):
        return check_recipe(recipe)
    for preset in get_args(Preset):
        if recipe == preset:
            return shipped_recipe(preset)
    if not (folder / recipe).is_file():
        raise BadSettings(f"'recipe' is '{recipe}', which is neither a file beside the sweep file nor a preset.",
                          f"Give a YAML file, one of {', '.join(get_args(Preset))}, or the recipe itself.")
    return check_recipe(read_yaml_text((folder / recipe).read_text(encoding="utf-8")))
