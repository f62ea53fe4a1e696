"""How preference models are built and trained. Torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.config.section import DEMO_WORLD, Lora, Section

Architecture = Literal["separate", "shared_trunk", "full"]
LabelUse = Literal["soft", "hard", "margin"]
LabelSource = Literal["ai", "people", "both"]


def is_the_judge(value: object) -> bool:
    """For `exclude_if`: labels of the judge alone are not written, so that older results are found."""
    return value == "ai"

RUNTIME_ONLY = frozenset({"stop_at_chance"})
"""What changes nothing of what a preference model is, so that it is not part of a stage's identity."""


class PreferenceModelSettings(Section):
    base: str = Field(DEMO_WORLD, min_length=1, max_length=500, description=(
        "Base of the preference models; may differ from the policy's, tokenizer included."))
    architecture: Architecture = Field("separate", description=(
        "One adapter per principle on a shared base; one trunk with one head per principle, all scored in one "
        "pass; or the whole base trained for each principle."))
    labels: LabelUse = Field("soft", description=(
        "Learn the judge's probability, its answer rounded to A or B, or that answer with its log-odds as margin."))
    labels_from: LabelSource = Field("ai", exclude_if=is_the_judge, description=(
        "Who labels: the judge, the ratings of the dataset ('data.ratings'; no judge is asked about a principle that "
        "has them), or the judge with ratings in place of its labels where there are any."))
    lora: Lora = Lora(r=8, alpha=32, dropout=0.1)
    lora_layers: int = Field(0, ge=0, le=1000, description=(
        "Adapt only this many of the upper layers (0: all); the layers below are computed once for all principles."))
    debias_length: bool = Field(False, description="Remove the linear effect of response length from the score.")
    learning_curve: bool = Field(False, description=(
        "Train on an eighth, a quarter and a half of the pairs as well, to see whether more labels would help; takes "
        "less than twice the time."))
    epochs: int = Field(1, ge=1, le=100, description="Passes over the labelled pairs.")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="Peak of a cosine schedule.")
    warmup_steps: int = Field(250, ge=0, le=100_000, description="Steps of linear warm-up (at most a tenth of all).")
    batch_size: int = Field(32, ge=1, le=4096, description="Pairs per step.")
    max_length: int = Field(512, ge=16, le=131_072, description=(
        "At most this many tokens of prompt and response; the beginning is cut."))
    held_out: float = Field(0.15, gt=0, lt=0.9, description="Share of the pairs kept for accuracy and calibration.")

    stop_at_chance: bool = Field(True, description=(
        "Stop before PPO where the preference models do no better on held-out pairs than a coin would. Looked at where "
        "100 held-out labels or more can tell."))

    @model_validator(mode="after")
    def _full_trains_every_layer(self) -> Self:
        if self.architecture == "full" and self.lora_layers:
            raise ValueError(f"'full' trains every layer; set 'lora_layers' from {self.lora_layers} to 0, or choose "
                             "another architecture")
        return self
