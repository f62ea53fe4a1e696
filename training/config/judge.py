"""Who labels the pairs, and how they are asked. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from training.config.section import Section


class Judge(Section):
    kind: Literal["rule", "openai"] = Field("rule", description="The demo world's rules, or an OpenAI-like server.")
    model: str = Field("", max_length=200, description="The model's name on the server.")
    base_url: str = Field("", max_length=500, description="The server's address, ending in /v1; empty: OpenAI's.")
    api_key_env: Annotated[str, StringConstraints(pattern=r"^((OPENAI|CONCORD_JUDGE)[A-Z0-9_]*_KEY)?$")] = Field(
        "", description="The environment variable that holds the key (OPENAI_API_KEY or CONCORD_JUDGE_..._KEY).")
    both_orders: bool = Field(True, description="Ask each pair in both orders and average: takes position bias out.")
    max_pairs: int = Field(600, ge=2, le=1_000_000, description="At most this many pairs are labelled per principle.")
    concurrency: int = Field(16, ge=1, le=512, description="Requests in flight.")
    samples: int = Field(4, ge=1, le=32, description="Answers drawn where the server gives no log-probabilities.")

    @model_validator(mode="after")
    def _server_needs_a_model(self) -> Self:
        if self.kind == "openai" and not self.model:
            raise ValueError("a judge on a server needs the model's name in 'model'")
        if self.api_key_env.startswith("OPENAI") and self.base_url and not self.base_url.startswith(
            "https://api.openai.com/"):
            raise ValueError("OPENAI_API_KEY is sent to https://api.openai.com only; for another server put its key "
                             "in a variable CONCORD_JUDGE_..._KEY")
        return self
