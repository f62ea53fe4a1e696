"""From what a sweep varies over to its combinations: of each, the values of the fields that differ."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from training.config import Recipe
from training.errors import BadSettings
from training.sweep.sweep_file import MOST_RUNS, Draw, Over, Random, Simplex

Combination = dict[str, Any]
"""Values by dotted path."""

REPEAT = "repeat"
"""The field that `seeds` varies: PPO and the evaluation are drawn anew, on the same labels and preference models."""


def combinations(over: Over, recipe: Recipe) -> list[Combination]:
    """Every combination of the ways that are given, the first way varying slowest.

    Raises:
        BadSettings: there are more than MOST_RUNS, a field is varied twice, or weights are varied that are not there.
    """
    count = combination_count(over)
    if count > MOST_RUNS:
        raise BadSettings(f"'over' makes {count:,} runs; at most {MOST_RUNS:,} are made.",
                          "Give fewer values, or draw some of them with 'random'.")
    ways: dict[str, list[Combination]] = {}
    if over.grid is not None:
        ways["grid"] = [dict(zip(over.grid, values, strict=True)) for values in itertools.product(*over.grid.values())]
    if over.listed is not None:
        ways["list"] = [dict(changes) for changes in over.listed]
    if over.random is not None:
        ways["random"] = _drawn(over.random)
    if over.simplex is not None:
        ways["simplex"] = _on_the_simplex(over.simplex, recipe)
    if over.seeds is not None:
        ways["seeds"] = [{REPEAT: seed} for seed in over.seeds]
    _refuse_fields_varied_twice(ways)
    return [{path: value for part in parts for path, value in part.items()}
            for parts in itertools.product(*ways.values())]


def combination_count(over: Over) -> int:
    """How many combinations there are, without making them."""
    return math.prod((
        math.prod(len(values) for values in over.grid.values()) if over.grid is not None else 1,
        len(over.listed) if over.listed is not None else 1,
        over.random.count if over.random is not None else 1,
        math.comb(over.simplex.parts + len(over.simplex.principles) - 1, over.simplex.parts)
        if over.simplex is not None else 1,
        len(over.seeds) if over.seeds is not None else 1))


def _drawn(way: Random) -> list[Combination]:
    chance = random.Random(way.seed)
    return [{path: _draw(field, chance) for path, field in way.fields.items()} for _ in range(way.count)]


def _draw(field: Draw, chance: random.Random) -> Any:
    """A choice, or a number of the range: a whole one if both of its ends are."""
    if field.choices is not None:
        return chance.choice(field.choices)
    low, high = field.low, field.high
    is_whole = isinstance(low, int) and isinstance(high, int)
    if field.log:
        number = math.exp(chance.uniform(math.log(low), math.log(high)))
    elif is_whole:
        return chance.randint(int(low), int(high))
    else:
        number = chance.uniform(low, high)
    number = min(max(number, low), high)
    return round(number) if is_whole else float(f"{number:.6g}")


def _on_the_simplex(way: Simplex, recipe: Recipe) -> list[Combination]:
    """Weights of some principles in whole parts. They sum to what they sum to in the recipe, so that the shares of the
    other principles stay as they are."""
    weights = {choice.name: choice.weight for choice in recipe.rewarded}
    if missing := [name for name in way.principles if name not in weights]:
        raise BadSettings(f"'over.simplex.principles' names {', '.join(missing)}, which the recipe does not reward.",
                          f"Name two or more of {', '.join(weights)}.")
    if recipe.weights.mode == "fitted":
        raise BadSettings("'over.simplex' varies weights, and 'weights.mode' is fitted, which does not read them.",
                          "Set 'weights.mode' of the recipe to set.")
    total = math.fsum(abs(weights[name]) for name in way.principles) or 1.0
    return [{f"principles.{name}.weight": float(f"{total * part / way.parts:.12g}")
             for name, part in zip(way.principles, parts, strict=True)}
            for parts in _compositions(way.parts, len(way.principles))]


def _compositions(parts: int, places: int) -> Iterator[tuple[int, ...]]:
    """The ways to share parts among places; the first place gets its fewest parts first."""
    if places == 1:
        yield (parts,)
        return
    for first in range(parts + 1):
        for rest in _compositions(parts - first, places - 1):
            yield (first, *rest)


def _refuse_fields_varied_twice(ways: dict[str, list[Combination]]) -> None:
    """A field and a section that holds it count as the same."""
    paths = {way: list(dict.fromkeys(path for part in parts for path in part)) for way, parts in ways.items()}
    pairs: list[tuple[tuple[str, str], tuple[str, str]]] = list(itertools.combinations(
        [(way, path) for way, of_way in paths.items() for path in of_way], 2))
    for (way, path), (other_way, other) in pairs:
        is_alternative = way == other_way == "list" and not _stand_together(ways["list"], path, other)
        if not is_alternative and (f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.")):
            raise BadSettings(f"'over' varies '{path}' in '{way}' and '{other}' in '{other_way}', which change the "
                              "same setting.", "Leave one of them out.")


def _stand_together(parts: Sequence[Combination], path: str, other: str) -> bool:
    return any(path in part and other in part for part in parts)
