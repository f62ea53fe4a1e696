"""The base class of every section of a recipe. Torch-free."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

DEMO_WORLD = "demo-world"
EVERYDAY_PROMPTS = "everyday-prompts"
"""A dataset of ours: short questions in plain English, without responses (`training.data.shipped`)."""


def is_none(value: object) -> bool:
    """For `exclude_if`: a field that is not set is not written, as if there were none."""
    return value is None


def is_empty(value: object) -> bool:
    """For `exclude_if`: as `is_none`, of a mapping."""
    return not value


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_is_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic would take true for 1."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {annotation, *get_args(annotation)}
        values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
        if kinds & {int, float} and bool not in kinds and any(isinstance(item, bool) for item in values):
            raise PydanticCustomError("int_type" if int in kinds else "float_type", "must be a number")
        return value


class Lora(Section):
    r: int = Field(8, ge=1, le=512, description="Rank of the adapter.")
    alpha: int = Field(32, ge=1, le=2048, description="Scale of the adapter: alpha / r multiplies its output.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside the adapter (preference models only).")
