"""Recipes that an earlier version of Concord stored: read as far as today's settings allow.

A recipe that is about to run must be valid in every field (`check_recipe`). One that has run must stay readable for
ever: settings that this version does not know, or does not accept, are left out by name and get their default.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from pydantic import ValidationError

from training.config.recipe import Recipe
from training.errors import BadSettings

REMEDY = "Clone the run: the form then shows the settings of this version, for you to check and start."


class Stored(NamedTuple):
    """A stored recipe, and the dotted names of the settings that could not be read."""

    recipe: Recipe
    unreadable: list[str]


def read_stored(value: Any) -> Stored:
    """Read a stored recipe, leaving out what today's settings do not know.

    Raises:
        BadSettings: too little of it can be read for a recipe.
    """
    value, unreadable = copy.deepcopy(value), list[str]()
    while True:
        try:
            return Stored(Recipe.model_validate(value), unreadable)
        except ValidationError as error:
            wrong = [path for item in error.errors(include_url=False) if (path := item["loc"])]
            # A list is too short as well where its only entry is wrong: what is wrong inside it goes first.
            inner = [path for path in wrong if not any(path == other[:len(path)] != other for other in wrong)]
            removed = [path for path in inner if _remove(value, path)]
            if not removed:
                raise BadSettings("This run's settings were stored by another version of Concord and cannot be read.",
                                  REMEDY) from error
            unreadable += [".".join(map(str, path)) for path in removed]


def read_exactly(value: Any) -> Recipe:
    """A stored recipe whose every setting counts: for what is still to be computed.

    Raises:
        BadSettings: a setting is not known any more, or means something else.
    """
    recipe, unreadable = read_stored(value)
    if unreadable:
        raise BadSettings("This run was started by another version of Concord, and its settings "
                          f"{', '.join(unreadable[:5])} are not known to this one.", REMEDY)
    return recipe


def _remove(value: Any, path: tuple[int | str, ...]) -> bool:
    """Take the setting at a path out; False where it is not there, or is an entry of a list."""
    for part in path[:-1]:
        if isinstance(value, dict) and part not in value and value.get("kind") == part:
            continue  # the place of an error in a measure names its kind
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False
    if not isinstance(value, dict) or path[-1] not in value:
        return False
    del value[path[-1]]
    return True
