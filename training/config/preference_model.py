"""How preference models are built and trained. Torch-free."""

from __future__ import annotations

from pydantic import Field

from training.config.section import DEMO_WORLD, Lora, Section


class PreferenceModel(Section):
    base: str = Field(DEMO_WORLD, min_length=1, max_length=500, description=(
        "Base of the preference models; may differ from the policy's, tokenizer included."))
    lora: Lora = Lora(r=8, alpha=32, dropout=0.1)
    epochs: int = Field(1, ge=1, le=100, description="Passes over the labelled pairs.")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="Peak of a cosine schedule.")
    warmup_steps: int = Field(250, ge=0, le=100_000, description="Steps of linear warm-up (at most a tenth of all).")
    batch_size: int = Field(32, ge=1, le=4096, description="Pairs a step.")
    max_length: int = Field(512, ge=16, le=131_072, description="Tokens of prompt and response; cut at the left.")
    held_out: float = Field(0.15, gt=0, lt=0.9, description="Share of the pairs kept for accuracy and calibration.")
