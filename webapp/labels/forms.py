"""The filter over labels, read from an address, and the decision on one label."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django import forms

from webapp.accounts.models import Team
from webapp.labels.models import Label

BANDS = {"low": (0.0, 0.2), "unsure": (0.2, 0.5), "sure": (0.5, 0.8), "high": (0.8, 1.01)}
ORDERS = {"": ("-id",), "unsure": ("confidence", "id"), "sure": ("-confidence", "-id")}
NO_DATASET = "none"
CONFIDENCE = [("low", "0 to 0.2"), ("unsure", "0.2 to 0.5"), ("sure", "0.5 to 0.8"), ("high", "0.8 to 1"),
              ("error", "no label (error)")]
AGREEMENT = [("flip", "orders disagree"), ("agree", "orders agree")]


class LabelFilterForm(forms.Form):
    """Every field may be empty. A filter with an unknown value is not valid and matches nothing."""

    q = forms.CharField(required=False, max_length=100, label="Pair contains",
                        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Words of prompt or responses"}))
    principle = forms.ChoiceField(required=False, label="Principle")
    dataset = forms.ChoiceField(required=False, label="Dataset")
    run = forms.ChoiceField(required=False, label="Run")
    judge = forms.ChoiceField(required=False, label="Judge")
    confidence = forms.ChoiceField(required=False, label="Confidence", choices=[("", "any confidence"), *CONFIDENCE])
    orders = forms.ChoiceField(required=False, label="Orders", choices=[("", "any order"), *AGREEMENT])
    review = forms.ChoiceField(required=False, label="Review", choices=[("", "any review"), *Label.Review.choices])
    sort = forms.ChoiceField(required=False, label="Sort", choices=[
        ("", "newest first"), ("unsure", "least sure first"), ("sure", "surest first")])

    def __init__(self, team: Team, data: Any, choices: dict[str, list[tuple[str, str]]]) -> None:
        super().__init__(data)
        for name, offered in choices.items():
            self.fields[name].choices = offered  # type: ignore[attr-defined]
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = field.label
            field.error_messages["invalid_choice"] = f"{field.label}: your team has no “%(value)s”."

    @property
    def chosen(self) -> dict[str, str]:
        """The values to filter by. Invalid fields are left out, so call `is_valid` first."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}

    @property
    def problems(self) -> list[str]:
        """What is wrong with the filter, in sentences."""
        self.is_valid()
        return [str(message) for messages in self.errors.values() for message in messages]

    def unread(self, other_names: Collection[str]) -> list[str]:
        """Sentences about parts of the address that this filter ignores: a name that is neither a field nor one of the
        `other_names`, and a field that appears twice. More labels match than the user asked for."""
        sentences = []
        for name, values in self.data.lists():  # type: ignore[attr-defined]
            if name not in self.fields and name not in other_names:
                sentences.append(f"There is no filter “{name[:40]}”.")
            elif len(values) > 1:
                sentences.append(f"The filter “{name[:40]}” is given {len(values)} times.")
        return sentences

    @property
    def in_words(self) -> str:
        """'Principle factuality, Orders orders agree', for the confirmation page before many labels are changed."""
        chosen = self.chosen
        chosen.pop("sort", "")
        words = []
        for name, value in chosen.items():
            field = self.fields[name]
            titles: dict[str, str] = dict(getattr(field, "choices", ()))
            words.append(f"{field.label}: {titles.get(value, value)}")
        return "; ".join(words)


class DecisionForm(forms.Form):
    """What a person decides on one label."""

    ACTIONS = ("a", "b", "tie", "exact", "approve", "reject", "undo")

    action = forms.ChoiceField(choices=[(action, action) for action in ACTIONS])
    probability = forms.FloatField(required=False, min_value=0, max_value=1, label="Probability that A is better")
    blind = forms.BooleanField(required=False)  # the page that was sent did not show the judge's answer

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("action") == "exact" and cleaned.get("probability") is None and not self.errors:
            self.add_error("probability", "Enter the probability that A is better, from 0 to 1.")
        return cleaned
