"""What each scalarization does, for the form: a sentence, its own settings, and its rewards of four responses.

The rewards are constants, since the web imports no torch; a test computes them with the engine.
"""

from __future__ import annotations

from typing import NamedTuple

from training.config import Function

EXAMPLE_WEIGHTS = (2.0, 1.0, 1.0)
EXAMPLES: dict[str, tuple[float, float, float]] = {
    "even": (0.8, 0.8, 0.8), "one strength": (3.0, 0.0, 0.0), "one flaw": (1.5, 1.5, -2.0), "dull": (0.2, 0.2, 0.2)}
"""Standardised scores on three principles of EXAMPLE_WEIGHTS."""


class Explanation(NamedTuple):
    """A scalarization as the form explains it.

    Attributes:
        sentence: what it does.
        settings: names of its own settings.
        rewards: of EXAMPLES, in their order.
    """

    sentence: str
    settings: tuple[str, ...]
    rewards: tuple[float, float, float, float]


EXPLAINED: dict[Function, Explanation] = {
    "linear": Explanation(
        "Adds the scores up by their weights. A strong principle makes up for a weak one.", (),
        (0.8, 1.5, 0.62, 0.2)),
    "worst_case": Explanation(
        "Takes the lowest score alone. Nothing makes up for the weakest principle.", (), (0.8, 0.0, -2.0, 0.2)),
    "soft_max_min": Explanation(
        "Takes a soft minimum: low scores count most, the others a little. The temperature says how soft.",
        ("temperature",), (0.8, 0.07, -1.8, 0.2)),
    "uncertainty_weighted": Explanation(
        "Takes the mean, less a penalty where the principles disagree; a score far above the others costs as well.",
        ("penalty",), (0.8, 0.0, -1.03, 0.2)),
    "lower_quantile": Explanation(
        "Takes the mean of the lowest few scores. The quantile says how many.", ("quantile",),
        (0.8, 0.0, -2.0, 0.2)),
    "max_median": Explanation(
        "Takes the middle score. One principle alone moves nothing, up or down.", (), (0.8, 0.0, 1.5, 0.2)),
    "bernoulli_nash": Explanation(
        "Multiplies the probabilities that each principle is met. Being bad at one costs much, being brilliant pays "
        "little.", (), (0.69, 0.69, 0.51, 0.55)),
    "tchebycheff": Explanation(
        "Looks at the principle that is farthest from an ideal score; heavy principles count as farther.", ("ideal",),
        (-3.3, -2.25, -3.75, -4.2)),
    "power_mean": Explanation(
        "Lies between the mean and the minimum of the probabilities. The power says where: 1 is the mean, far below 0 "
        "the minimum.", ("power",), (0.69, 0.63, 0.23, 0.55)),
    "lexicographic": Explanation(
        "Goes by order of weight: the next principle counts once the heavier one is good enough.",
        ("threshold", "thresholds"), (2.8, 2.0, 1.14, 2.2)),
    "constrained": Explanation(
        "Raises the other principles while those with a threshold must reach it on average; the price of missing it is "
        "learned. (Here the third must reach 0.5.)", ("thresholds", "multiplier", "multiplier_rate"),
        (0.45, 0.5, -0.69, -0.08)),
}

SHARED = ("caps",)
"""Settings that every function has."""


class Bar(NamedTuple):
    """A response's reward as a bar: from 0 to 100, with the number."""

    title: str
    scores: str
    width: float
    reward: str
    is_best: bool


class Card(NamedTuple):
    """What the template shows of a function."""

    function: str
    sentence: str
    bars: list[Bar]


def cards() -> list[Card]:
    """A card for each scalarization; bars run from its lowest to its highest reward."""
    return [Card(function, explained.sentence, _bars(explained.rewards)) for function, explained in EXPLAINED.items()]


def condition(setting: str) -> str:
    """When a setting of the scalarization is shown, as the form's script reads it: for the functions that have it."""
    functions = [function for function, explained in EXPLAINED.items() if setting in explained.settings]
    return f"scalarization.function={'|'.join(functions)}" if functions else ""


def _bars(rewards: tuple[float, ...]) -> list[Bar]:
    low, high = min(rewards), max(rewards)
    return [Bar(title, ", ".join(f"{score:g}".replace("-", "−") for score in scores),
                round(6 + 94 * (reward - low) / (high - low), 1), f"{reward:.2f}".replace("-", "−"), reward == high)
            for (title, scores), reward in zip(EXAMPLES.items(), rewards, strict=True)]
