"""Trying a measure on two responses: the number of each, and which one it prefers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from training.dialogue import parse_hh
from training.errors import MeasureFailed, TrainingError
from training.judges.measure_judge import preference
from training.measures import make_measure
from webapp.principles.measures import read_measure
from webapp.principles.patience import MeasuresBusy, measure_within

LONGEST_TEXT = 20_000  # characters of a text that is tried
PATIENCE = 5.0  # seconds
BUSY = "Other measures are still at work. Wait a minute, then send it again."
UNKNOWN = "This version of Concord does not know the measure. Edit the principle, and choose another one."
UNANSWERED = ("It compares with the reference answer of the prompt, and there is none here. Save the principle, then "
              "try it on its page with a reference answer.")


@dataclass(frozen=True)
class MeasureTrial:
    """What a measure says of two responses.

    Attributes:
        a, b: the number of each; None where there is none.
        preference: P(A is better); 0.5 is a tie.
        problems: why something has no number, a sentence each.
    """

    a: float | None = None
    b: float | None = None
    preference: float | None = None
    problems: tuple[str, ...] = ()


def try_measure(settings: dict[str, Any], *, prompt: str, a: str, b: str, reference: str = "") -> MeasureTrial:
    """Measure both responses now. What goes wrong is worded for the person.

    Args:
        reference: the reference answer to the prompt, for measures that compare with it.
    """
    try:
        measure = read_measure(settings)
        if measure.needs_reference and not reference.strip():
            return MeasureTrial(problems=(UNANSWERED,))
        function = make_measure(measure, lambda prompt: reference)
        asked = [(parse_hh(prompt), response.replace("\r\n", "\n")) for response in (a, b)]
        outcomes = measure_within(function, asked, PATIENCE)
    except ValidationError:
        return MeasureTrial(problems=(UNKNOWN,))
    except TrainingError as problem:
        return MeasureTrial(problems=(str(problem),))
    except MeasuresBusy:
        return MeasureTrial(problems=(BUSY,))
    numbers = [outcome if isinstance(outcome, float) else None for outcome in outcomes]
    problems = [f"Response {side} has no number: {outcome}" for side, outcome in zip("AB", outcomes, strict=False)
                if isinstance(outcome, MeasureFailed)]
    if len(outcomes) < 2:
        problems.append(f"The measure took longer than {PATIENCE:.0f} seconds. Try shorter responses.")
    first, second = [*numbers, None, None][:2]
    if first is None or second is None:
        return MeasureTrial(first, second, problems=tuple(problems))
    return MeasureTrial(first, second, preference(first, second, measure.toward, measure.softness))
