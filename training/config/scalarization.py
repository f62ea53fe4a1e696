"""How principle rewards become one reward, and where their weights come from. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.config.section import Section

Function = Literal[
    "linear", "worst_case", "soft_max_min", "uncertainty_weighted", "lower_quantile", "max_median", "bernoulli_nash",
    "tchebycheff", "power_mean", "lexicographic", "constrained",
]  # fmt: skip

Score = Annotated[float, Field(ge=-100, le=100)]


class Weights(Section):
    mode: Literal["set", "fitted"] = Field("set", description=(
        "Use the weights given, or fit them to human choices in the dataset by logistic regression."))


class Scalarization(Section):
    function: Function = Field("linear", description="How principle rewards become one reward.")
    temperature: float = Field(1.0, gt=0, le=100, description="soft_max_min: softness of the minimum.")
    penalty: float = Field(0.5, ge=0, le=100, description="uncertainty_weighted: times the variance across principles.")
    quantile: float = Field(1 / 3, gt=0, le=1, description="lower_quantile: the lowest share that is averaged.")
    ideal: float = Field(3.0, ge=-100, le=100, description=(
        "tchebycheff: the score, in standard deviations, from which each principle's distance is measured."))
    power: float = Field(-2.0, ge=-100, le=100, description=(
        "power_mean: 1 is the mean of the probabilities, 0 their geometric mean, far below 0 their minimum."))
    threshold: float = Field(0.0, ge=-100, le=100, description=(
        "lexicographic: the score, in standard deviations, that is good enough to look at the next principle."))
    thresholds: dict[str, Score] = Field({}, max_length=64, description=(
        "By principle, e.g. {toxicity: 0.5}; constrained: these must be reached on average; lexicographic: in place of "
        "the common threshold."))
    multiplier: float = Field(1.0, gt=0, le=100, description="constrained: the Lagrange multipliers at the start.")
    multiplier_rate: float = Field(0.1, ge=0, le=10, description="constrained: how fast the multipliers learn.")
    caps: dict[str, Score] = Field({}, max_length=64, description=(
        "By principle, e.g. {conciseness: 1.5}: scores beyond this many standard deviations pay no more."))
