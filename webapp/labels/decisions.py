"""One decision of a person on one label, as the Labels page and the review both take it."""

from __future__ import annotations

from typing import Any

from webapp.accounts.models import User
from webapp.labels import services
from webapp.labels.models import Label


def decide(label: Label, decision: dict[str, Any], by: User) -> str:
    """Do what a valid `forms.DecisionForm` says; returns what to say of it.

    Raises:
        ValidationError: this label cannot be decided so.
    """
    match decision["action"]:
        case "approve":
            services.label_approve(label=label, by=by)
            return "Approved."
        case "reject":
            services.label_reject(label=label, by=by)
            return "Rejected: no preference model trains on this label."
        case "undo":
            return "Taken back." if services.label_undo(label=label) else "There is nothing to take back."
    probability = {"a": 1.0, "b": 0.0, "tie": 0.5}.get(decision["action"], decision["probability"])
    services.label_override(label=label, probability=probability, by=by)
    return f"Set: A is better with probability {probability:.2f}."
