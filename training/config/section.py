"""What every section of a recipe has in common. Torch-free."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

DEMO_WORLD = "demo-world"


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lora(Section):
    r: int = Field(8, ge=1, le=512, description="Rank of the adapter.")
    alpha: int = Field(32, ge=1, le=2048, description="Scale of the adapter: alpha / r multiplies its output.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside the adapter (preference models only).")
