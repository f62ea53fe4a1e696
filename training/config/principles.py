"""The library of principles: the twelve of the paper, each with its polarity. Torch-free.

A principle's `statement` completes "Which response is ...". Three names say the vice (toxicity, sycophancy, bias)
while a higher score means the virtue: their polarity is "vice".
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict


class LibraryPrinciple(BaseModel):
    """One principle.

    `symbol` and `hue` (a colour-blind-safe hex colour) are how every page and every chart shows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    statement: str
    polarity: Literal["virtue", "vice"]
    description: str
    symbol: str
    hue: str


@cache
def library() -> dict[str, LibraryPrinciple]:
    """The shipped principles by name, in the paper's order."""
    text = files("training.config").joinpath("principle_texts", "library.yaml").read_text(encoding="utf-8")
    return {entry["name"]: LibraryPrinciple.model_validate(entry) for entry in yaml.safe_load(text)}
