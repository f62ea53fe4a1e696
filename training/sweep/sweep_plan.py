"""What a sweep is going to do: its runs, each checked as a recipe, identical ones once, and the stages they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.config import Recipe, check_recipe
from training.errors import BadSettings, TrainingError
from training.run.artifacts import digest_of
from training.run.checks import check_run
from training.run.pipeline import identities, plan
from training.sweep.combinations import Combination, combinations
from training.sweep.sweep_file import SweepFile

_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep. `number` counts from 1; `varied` are the values that are its own, by dotted path."""

    number: int
    varied: Combination
    recipe: Recipe

    @property
    def title(self) -> str:
        return as_text(self.varied)


def sweep_runs(sweep: SweepFile, base: Recipe, check: Callable[[Recipe], None] = check_run) -> list[SweepRun]:
    """The runs of a sweep, of identical ones the first.

    Args:
        check: refuses what a valid recipe cannot do here; the web has rules of its own.

    Raises:
        BadSettings: naming the combination, its paths and values, and what is wrong.
    """
    runs: dict[str, SweepRun] = {}
    for place, combination in enumerate(combinations(sweep.over, base), start=1):
        try:
            recipe = vary(base, combination)
            check(recipe)
        except TrainingError as error:
            raise BadSettings(f"Combination {place} ({as_text(combination)}) cannot be run: {error.cause}",
                              f"Change 'over' in the sweep file, or its recipe. {error.remedy}") from error
        number = len(runs) + 1
        named = recipe.model_copy(update={"name": f"{base.name[:185]}, run {number}"})
        runs.setdefault(digest_of(recipe.model_dump(mode="json")), SweepRun(number, combination, named))
    return list(runs.values())


def vary(base: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with other values at some dotted paths; a principle is found by its name.

    Raises:
        BadSettings: a path leads nowhere, or the recipe cannot be used with these values.
    """
    values: dict[str, Any] = base.model_dump(mode="json")
    for path, value in changes.items():
        *sections, name = path.split(".")
        section: Any = values
        for part in sections:
            section = _inside(section, part, path, value)
        if not isinstance(section, dict):
            raise _names_nothing(path, value)
        section[name] = value
    return check_recipe(values)


def _inside(section: Any, part: str, path: str, value: Any) -> Any:
    """The section of that name. One that is not there is made: whether the recipe has it, its check says."""
    if isinstance(section, list):
        named = {item["name"]: item for item in section}
        if part not in named:
            raise BadSettings(f"'{path}' ({_shortened(value)}) names no principle of the recipe.",
                              f"It has {', '.join(named)}.")
        return named[part]
    if not isinstance(section, dict):
        raise _names_nothing(path, value)
    if section.get(part) is None:
        section[part] = {}
    return section[part]


def _names_nothing(path: str, value: Any) -> BadSettings:
    return BadSettings(f"'{path}' ({_shortened(value)}) names no setting of the recipe.",
                       "Give a path such as ppo.kl.coefficient or principles.detail.weight.")


def as_text(combination: Combination) -> str:
    """For people: `ppo.steps = 3, repeat = 1`."""
    return ", ".join(f"{path} = {_shortened(value)}" for path, value in combination.items())


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def stage_identities(recipe: Recipe) -> dict[str, str]:
    """The identity of each stage for counting, before any data is read: two stages have the same one if their settings,
    their inputs and the settings of their data are the same."""
    data = digest_of([recipe.data.model_dump(mode="json"), recipe.seed])
    stages = plan(recipe)
    return identities(stages, {role: data for stage in stages for role in stage.files})


def stage_counts(runs: Sequence[SweepRun]) -> tuple[int, int]:
    """How many stages the runs have in all, and how many of them are distinct."""
    stages = [identity for run in runs for identity in stage_identities(run.recipe).values()]
    return len(stages), len(set(stages))
