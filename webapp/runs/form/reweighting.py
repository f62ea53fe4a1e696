"""Weights and a scalarization in an address: `weight.toxicity=2&scalarization.function=worst_case`.

So that a page which tries them can hand them to the form of a new run, or to itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from training.config import Recipe, Scalarization, check_recipe

WEIGHT, SECTION, MODE = "weight.", "scalarization.", "weights.mode"
NUMBERS = ("temperature", "penalty", "quantile", "ideal", "power", "threshold")
"""Settings of scalarizations that may stand in an address."""


def reweighted(recipe: Recipe, address: Mapping[str, str]) -> Recipe:
    """The recipe with the weights and the scalarization of an address; what it does not name stays.

    Raises:
        BadSettings: a value is none, or the recipe would not be valid with it.
    """
    values = recipe.model_dump(mode="json")
    for choice in values["principles"]:
        if text := address.get(f"{WEIGHT}{choice['name']}", "").strip():
            choice["weight"] = _number(text)
    for name in ("function", *NUMBERS):
        if text := address.get(f"{SECTION}{name}", "").strip():
            values["scalarization"][name] = text if name == "function" else _number(text)
    if mode := address.get(MODE, "").strip():
        values["weights"]["mode"] = mode
    return check_recipe(values)


def address_of(weights: Mapping[str, float], settings: Scalarization) -> dict[str, str]:
    """The part of an address that `reweighted` reads. The weights are set, or a run that fitted its own would do so
    again."""
    numbers = {f"{SECTION}{name}": f"{getattr(settings, name):g}" for name in NUMBERS}
    return {MODE: "set"} | {f"{WEIGHT}{name}": f"{weight:g}" for name, weight in weights.items()} | {
        f"{SECTION}function": settings.function} | numbers


def _number(text: str) -> float | str:
    """A number, or the text itself, which the recipe refuses by the setting's name."""
    try:
        return float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return text
