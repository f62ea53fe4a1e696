"""What a quality card warns of: scores without spread, labels that decide nothing, a model near chance. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.run.reporting import Reporter

LEAST_STD = 1e-4
"""Of raw scores; below this, rounding errors are visible in them."""


def warn_of(card: Mapping[str, Any], reporter: Reporter) -> None:
    """Report the warnings of one card."""
    if card["std"] <= LEAST_STD:
        reporter.warning("no_spread", f"The scores of {card['principle']} hardly vary (deviation {card['std']:.1g}): "
                         "standardised they are noise. Train longer" + (", or without 'debias_length': length alone "
                         "explains them." if "length_slope" in card else "."))
    if card["decided"] == 0:
        reporter.warning("no_decided_labels", f"No held-out label of {card['principle']} is decided: its accuracy says "
                         "nothing.")
    elif card["accuracy_low"] < 0.5:
        interval = f"95% from {card['accuracy_low']:.2f} to {card['accuracy_high']:.2f}, n = {card['decided']}"
        reporter.warning("weak_preference_model", f"Held-out accuracy on {card['principle']} {card['accuracy']:.2f} "
                         f"({interval}) is no better than chance: the model did not learn it, or needs more pairs.")
