"""What a run is compared with: the same pairs, judge, loss and training, and one preference model. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.section import Section

CONSTITUTION = "constitution"
"""The name of a baseline's only preference model, in place of a principle's."""


class Baseline(Section):
    kind: Literal["none", "single_pm", "pooled_pm", "single_principle"] = Field("none", description=(
        "Train a baseline instead: one preference model on one principle's label per pair, drawn by weight "
        "(single_pm); on every principle's label (pooled_pm); or towards one principle alone."))
    principle: str = Field("", max_length=64, description=(
        "single_principle: the principle that is rewarded; empty: the recipe's first."))
