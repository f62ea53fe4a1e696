"""Agreement of two raters who choose between A and B: raw and beyond chance (Cohen's kappa, 1960).

An answer with a probability of exactly 0.5 names no winner and is not counted. Pure functions.
Left out: weighted kappa, intervals by bootstrap (the interval here is Wilson's, on the raw share).
"""

from __future__ import annotations

from dataclasses import dataclass

from training.quality.intervals import wilson_interval


@dataclass(frozen=True)
class Agreement:
    """How often two raters name the same winner: counts of pairs by (first says A, second says A)."""

    both_a: int
    first_a: int  # the first says A, the second B
    second_a: int  # the second says A, the first B
    both_b: int

    @property
    def n(self) -> int:
        return self.both_a + self.first_a + self.second_a + self.both_b

    @property
    def raw(self) -> float | None:
        """The share of pairs on which both name the same winner."""
        return (self.both_a + self.both_b) / self.n if self.n else None

    @property
    def base_rates(self) -> tuple[float, float] | None:
        """How often each says A. If both nearly always do, a high raw agreement means little."""
        if not self.n:
            return None
        return (self.both_a + self.first_a) / self.n, (self.both_a + self.second_a) / self.n

    @property
    def kappa(self) -> float | None:
        """(raw - chance) / (1 - chance); None if chance alone would give full agreement."""
        if self.raw is None or self.base_rates is None:
            return None
        first, second = self.base_rates
        chance = first * second + (1 - first) * (1 - second)
        return None if chance > 1 - 1e-12 else (self.raw - chance) / (1 - chance)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95% interval of the raw agreement."""
        return wilson_interval(self.both_a + self.both_b, self.n) if self.n else None


def in_words(kappa: float | None) -> str:
    """The strength of an agreement in the words of Landis and Koch (1977)."""
    if kappa is None:
        return "undefined"
    steps = ((0.0, "none"), (0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))
    return next((words for limit, words in steps if kappa <= limit), "almost perfect")


DUPLICATE, CONFLICT, ENOUGH = 0.8, -0.4, 30


def relation(agreement: Agreement) -> str:
    """How two principles are related: "duplicate", "conflict" or "", by kappa; "" if n is too small."""
    if agreement.n < ENOUGH or agreement.kappa is None:
        return ""
    return "duplicate" if agreement.kappa >= DUPLICATE else "conflict" if agreement.kappa <= CONFLICT else ""
