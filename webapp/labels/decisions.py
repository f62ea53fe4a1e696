"""A person's decision on one label: what it does, whether it is blind, and what the page remembers between labels."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from webapp.accounts.models import User
from webapp.labels import services
from webapp.labels.models import Label

OPTIONS = ("stay", "blind")  # stay on a label after deciding; hide the judge's answer until one has decided
_REMEMBERED = 365 * 24 * 3600  # seconds


def decide(label: Label, decision: dict[str, Any], by: User) -> str:
    """Apply a valid `forms.DecisionForm`. Returns the message for the user.

    Raises:
        ValidationError: this label cannot be decided so.
    """
    blind = decision["blind"] and not has_decided(label, by)
    match decision["action"]:
        case "approve":
            if blind:
                raise ValidationError("The judge’s answer is hidden, so there is nothing to approve. Choose A, B or "
                                      "a tie.")
            services.label_approve(label=label, by=by)
            return "Approved."
        case "reject":
            services.label_reject(label=label, by=by, blind=blind)
            return "Rejected: no preference model will train on this label."
        case "undo":
            undone = services.label_undo(label=label)
            return "The last decision is taken back." if undone else "There is no decision to take back."
    probability = {"a": 1.0, "b": 0.0, "tie": 0.5}.get(decision["action"], decision["probability"])
    services.label_override(label=label, probability=probability, by=by, blind=blind)
    return f"Saved: {label.decision} (you)."


def has_decided(label: Label, user: User) -> bool:
    """Whether the user has ever decided on the label, and so has seen the judge's answer."""
    return label.changes.filter(by=user).exists()


def option(request: HttpRequest, name: str) -> bool:
    """Whether this browser has one of the OPTIONS switched on."""
    return request.COOKIES.get(f"labels_{name}") == "1"


def remember_option(response: HttpResponse, name: str, on: bool) -> None:
    """Remember one of the OPTIONS in a cookie, as the theme is."""
    response.set_cookie(f"labels_{name}", "1" if on else "0", max_age=_REMEMBERED, samesite="Lax",
                        httponly=True, secure=settings.PRODUCTION)
