"""How principle rewards become one reward, and where their weights come from. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.section import Section

Function = Literal[
    "linear", "worst_case", "soft_max_min", "uncertainty_weighted", "lower_quantile", "max_median", "bernoulli_nash"
]


class Weights(Section):
    mode: Literal["set", "fitted"] = Field("set", description=(
        "Use the weights given, or fit them to human choices in the data set by logistic regression."))


class Scalarization(Section):
    function: Function = Field("linear", description="How principle rewards become one reward.")
    temperature: float = Field(1.0, gt=0, le=100, description="soft_max_min: softness of the minimum.")
    penalty: float = Field(0.5, ge=0, le=100, description="uncertainty_weighted: times the variance across principles.")
    quantile: float = Field(1 / 3, gt=0, le=1, description="lower_quantile: the lowest share that is averaged.")
