"""What changed in a finished run's answers: what programs measured, beside what the preference models believe.

Here a person can see over-optimization: the preference model calls the policy's answers better, the measure worse.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from webapp.principles.models import Principle

Direction = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class Change:
    """One measured principle.

    Attributes:
        measured: what is measured, in words; "" where the recipe no longer says it.
        is_gauge: nothing was rewarded for it, so neither end is better.
        base, policy: the measure's mean over their answers.
        difference: `mean`, `low` and `high` of policy minus base, in the measure's own units.
        opinion: the same of the preference model's score, in standard deviations; None where there is no model.
    """

    principle: Principle | None
    n: int
    toward: str
    base: dict[str, float]
    policy: dict[str, float]
    difference: dict[str, float]
    opinion: dict[str, float] | None
    is_gauge: bool = False
    measured: str = ""

    @property
    def truth(self) -> Direction:
        """What the measure says; "unclear" where the 95% interval of the difference holds 0."""
        direction = _direction(self.difference)
        if self.toward == "low" and direction != "unclear":
            return "worse" if direction == "better" else "better"
        return direction

    @property
    def believed(self) -> Direction | None:
        """What the preference model says; None where there is none."""
        return _direction(self.opinion) if self.opinion is not None else None

    @property
    def is_over_optimized(self) -> bool:
        return self.truth == "worse" and self.believed == "better"

    @property
    def words(self) -> str:
        if self.is_gauge:
            words = {"better": "Higher.", "worse": "Lower.", "unclear": "No change is shown."}
            return words[_direction(self.difference)]
        if self.is_over_optimized:
            return ("Over-optimized: the preference model says better, the measure says worse. Label more pairs, raise "
                    "the KL coefficient, or stop earlier.")
        if self.believed is None:
            return {"better": "Better.", "worse": "Worse.", "unclear": "No change is shown."}[self.truth]
        if self.truth == "unclear":
            return ("No change is shown, though the preference model sees one." if self.believed != "unclear"
                    else "No change is shown, by the measure or by its preference model.")
        agrees = "agrees" if self.believed == self.truth else "does not show it"
        return f"{self.truth.capitalize()}, and its preference model {agrees}."


def changes_of(summary: dict[str, Any], principle_of: Callable[[str], Principle | None],
               gauges: Collection[str] = (), quantities: Mapping[str, str] | None = None) -> list[Change]:
    """The measured principles of an evaluation's report; reports of earlier versions have no opinions. `quantities`
    says by principle what its measure counts."""
    opinions = summary.get("opinions", {})
    return [Change(principle_of(name), means["n"], means["toward"], means["base"], means["policy"],
                   means["difference"], opinions.get(name, {}).get("difference"), name in gauges,
                   (quantities or {}).get(name, ""))
            for name, means in summary.get("measures", {}).items() if means.get("n")]


def _direction(difference: dict[str, float]) -> Direction:
    return "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "unclear"
