"""Fitted weights as the page of a run shows them: weight, interval, and what leaving a principle out costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WeightRow:
    """A principle's fitted weight; costs are in points of accuracy. `is_turned`: its sign is not `set_weight`'s."""

    name: str
    weight: float
    set_weight: float
    low: float | None
    high: float | None
    alone: float | None
    in_orders: float | None
    is_turned: bool

    @property
    def could_be_either(self) -> bool:
        return self.low is not None and self.high is not None and self.low < 0 < self.high


@dataclass(frozen=True)
class FittedWeights:
    rows: list[WeightRow]
    n: int
    accuracy: Mapping[str, Any] | None
    orders: int


def fitted_weights(summary: Mapping[str, Any]) -> FittedWeights | None:
    """The fitted weights in the summary of a weights stage; None if the weights were set by a person."""
    if summary.get("mode") != "fitted":
        return None
    intervals, ablation = summary.get("intervals", {}), summary.get("ablation", {})
    rows = []
    for name, weight in summary["weights"].items():
        low, high = intervals.get(name, (None, None))
        set_weight = summary.get("given", {}).get(name, 0.0)
        costs = [None if (cost := ablation.get(key, {}).get(name)) is None else 100 * cost
                 for key in ("alone", "in_orders")]
        rows.append(WeightRow(name, weight, set_weight, low, high, costs[0], costs[1], weight * set_weight < 0))
    return FittedWeights(rows, summary.get("n", 0), ablation.get("accuracy"), ablation.get("orders", 0))
