"""A person's decision on one label, shared by the Labels page and the review pages."""

from __future__ import annotations

from typing import Any

from webapp.accounts.models import User
from webapp.labels import services
from webapp.labels.models import Label


def decide(label: Label, decision: dict[str, Any], by: User) -> str:
    """Apply a valid `forms.DecisionForm`. Returns the message for the user.

    Raises:
        ValidationError: this label cannot be decided so.
    """
    match decision["action"]:
        case "approve":
            services.label_approve(label=label, by=by)
            return "Approved."
        case "reject":
            services.label_reject(label=label, by=by)
            return "Rejected: no preference model will train on this label."
        case "undo":
            undone = services.label_undo(label=label)
            return "The last decision is taken back." if undone else "There is nothing to take back."
    probability = {"a": 1.0, "b": 0.0, "tie": 0.5}.get(decision["action"], decision["probability"])
    services.label_override(label=label, probability=probability, by=by)
    return f"Saved: the probability that A is better is {probability:.2f}."
