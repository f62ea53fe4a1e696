"""Measures of a team's own: functions in installed packages, found by the entry point group `concord.measures`.

A recipe only names one. What is not installed beside Concord cannot run, so no text of a page becomes code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from training.dialogue import Dialogue
from training.errors import BadSettings

GROUP = "concord.measures"


def added_measures() -> dict[str, EntryPoint]:
    """The installed measures by name, in alphabetical order. None of their code is loaded."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def entry_point(name: str) -> EntryPoint:
    """The entry point of an added measure. Raises BadSettings if none of that name is installed."""
    installed = added_measures()
    if name not in installed:
        raise BadSettings(f"The measure '{name}' is not installed on this machine; installed: "
                          f"{', '.join(installed) or 'none'}.",
                          f"Install the package with its entry point in the group {GROUP}, or correct the name.")
    return installed[name]


@cache
def load(name: str) -> Callable[[Dialogue, str], float]:
    """The function of an added measure. Raises BadSettings if it cannot be imported or is no function."""
    point = entry_point(name)
    try:
        function = point.load()
    except Exception as error:  # another team's code: whatever it raises is about this measure
        raise BadSettings(f"The measure '{name}' ({point.value}) cannot be imported: {error!r}.",
                          "Correct its package, or choose another measure.") from error
    if not callable(function):
        raise BadSettings(f"The measure '{name}' ({point.value}) is no function.",
                          "Make it a function of (prompt, response) that returns a number.")
    return function
