"""What makes a measure a reward: its mean and standard deviation over the responses of a run's pairs, frozen.

Left out: weights of responses, and a scale that follows the policy: the reward would change its meaning while PPO runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from training.config.measure import Measure
from training.dialogue import Dialogue
from training.errors import BadData, MeasureFailed
from training.measures.measure import ReferenceOf, make_measure, no_reference


class Scale(NamedTuple):
    """The standardisation of a measure; `std` is above 0."""

    mean: float
    std: float

    def standardised(self, value: float, toward: str) -> float:
        """Standard deviations from the mean, towards the better end.

        >>> Scale(mean=6.0, std=2.0).standardised(9.0, "low")
        -1.5
        """
        return sign_of(toward) * (value - self.mean) / self.std


def sign_of(toward: str) -> float:
    """1 where a higher measure is the better, -1 where a lower one is."""
    return 1.0 if toward == "high" else -1.0


class SafeMeasure:
    """A measure that gives None where it has no number for a response, and says so once.

    Args:
        name: the principle that it measures.
        settings: a measure of the recipe as JSON.
        on_failure: called with a sentence at the first failure.
        reference_of: where the reference answers of prompts are.
    """

    def __init__(self, name: str, settings: Mapping[str, Any],
                 on_failure: Callable[[str], None] = lambda sentence: None,
                 reference_of: ReferenceOf = no_reference) -> None:
        measure: Measure = TypeAdapter(Measure).validate_python(settings)
        self.name, self.toward = name, measure.toward
        self._measure = make_measure(measure, reference_of)
        self._on_failure, self._has_failed = on_failure, False

    def __call__(self, prompt: Dialogue, response: str) -> float | None:
        try:
            return self._measure(prompt, response)
        except MeasureFailed as error:
            if not self._has_failed:
                self._on_failure(f"The measure of '{self.name}' has no number for a response: {error.cause}")
            self._has_failed = True
            return None


def scale_of(name: str, values: Iterable[float | None]) -> Scale:
    """The scale of a principle's measure over responses; None is a response without a number, and does not count.

    Raises:
        BadData: fewer than half of the responses have a number, or all have the same.
    """
    every = list(values)
    known = [value for value in every if value is not None]
    if 2 * len(known) < len(every) or not known:
        raise BadData(f"The measure of '{name}' has a number for {len(known)} of {len(every)} responses of the pairs.",
                      "Correct the measure, or choose another one.")
    mean = math.fsum(known) / len(known)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known))
    if min(known) == max(known) or std == 0:
        raise BadData(f"All {len(known)} responses of the pairs measure {known[0]:g} on '{name}': there is no scale to "
                      "reward it by.", f"Let '{name}' serve as a 'gauge', or choose a measure in which they differ.")
    return Scale(mean, std)
