"""The form that assigns labels for review."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from webapp.accounts.models import Team, User
from webapp.review.models import ReviewAssignment
from webapp.review.ordering import FORMULAS

MOST_EACH = 100_000


class AssignForm(forms.Form):
    """Who reviews how many labels, in which order, and how many go to several people."""

    name = forms.CharField(max_length=200, label="Name", help_text="People see it in their list.")
    people = forms.ModelMultipleChoiceField(User.objects.none(), widget=forms.CheckboxSelectMultiple, label="People")
    per_person = forms.IntegerField(label="Labels each", min_value=1, max_value=MOST_EACH, initial=100)
    overlap_every = forms.IntegerField(label="Give every … label", min_value=0, max_value=1000, initial=5,
                                       help_text="Only pairs that several people get show how far people agree. 1: "
                                                 "every pair; 0: none.")
    overlap_people = forms.IntegerField(label="… to how many people", min_value=2, max_value=50, initial=2)
    order = forms.ChoiceField(label="First", choices=ReviewAssignment.Order.choices,
                              initial=ReviewAssignment.Order.MIDDLE)
    blind = forms.BooleanField(required=False, initial=True, label="Hide the judge’s answer until a person has decided",
                               help_text="A person who sees it first agrees with it more often.")

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["people"].queryset = (  # type: ignore[attr-defined]
            User.objects.filter(is_active=True, memberships__team=team).order_by("username"))
        self.fields["order"].help_text = format_html_join(
            mark_safe("<br>"), "<strong>{}</strong>: {}",
            ((ReviewAssignment.Order(order).label.capitalize(), formula) for order, formula in FORMULAS.items()))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        people, several = cleaned.get("people"), cleaned.get("overlap_people")
        if people is not None and several and cleaned.get("overlap_every") and several > len(people):
            self.add_error("overlap_people", f"You chose {len(people)}, so a label cannot go to {several}. Choose more "
                                             "people, or set “Give every … label” to 0.")
        return cleaned
