"""The form of a principle: its wording or its measure, and its look."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from webapp.accounts.models import Team
from webapp.principles.measure_fields import FieldGroup, field_groups, measure_fields, read_fields
from webapp.principles.measures import as_stored, statement_of
from webapp.principles.models import Principle
from webapp.principles.trying import LONGEST_TEXT, MeasureTrial, try_measure

SYMBOLS = ("●", "▲", "■", "◆", "★", "♥", "⬟", "⬢", "▼", "✚", "❖", "—", "◐", "◧", "☀", "☂", "♣", "♠", "✦", "✱", "⚑", "⚙",
           "♪", "◎")
# Colour-blind safe, after Paul Tol; the library uses most of them.
PALETTE = ("#4477AA", "#228833", "#CC3311", "#AA3377", "#EE8866", "#009988", "#997700", "#6F4C9B", "#EE7733", "#0077BB",
           "#66CCEE", "#BBCC33", "#882255", "#44AA99", "#DDCC77", "#332288")


class PrincipleForm(forms.Form):
    """The form of a new principle or, with `principle`, of an existing one, whose name cannot change.

    Sent with "try", it is not to be saved: its measure is tried on two responses, and it may lack a name.
    """

    name = forms.RegexField(
        r"^[a-z0-9][a-z0-9_-]*\Z", max_length=64,
        help_text="Lower-case letters, digits, hyphens and underscores. It cannot be changed later: labels and files "
                  "refer to it.",
        error_messages={"invalid": "Use only lower-case letters, digits, hyphens and underscores."})
    source = forms.ChoiceField(
        label="Who decides", required=False, initial="judged", widget=forms.RadioSelect,
        choices=[("judged", "Judged by a model"), ("measured", "Measured by a program")])
    statement = forms.CharField(
        label="Which response is …", max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Completes the question to the judge, for example “more polite, and never curt”.")
    polarity = forms.ChoiceField(
        label="A higher score means", initial=Principle.Polarity.VIRTUE, widget=forms.RadioSelect, choices=[
            (Principle.Polarity.VIRTUE, "more of what the name says"),
            (Principle.Polarity.VICE, "less of it: the name is a fault"),
        ])
    try_a = forms.CharField(label="Response A", required=False, strip=False, max_length=LONGEST_TEXT,
                            widget=forms.Textarea(attrs={"rows": 3}))
    try_b = forms.CharField(label="Response B", required=False, strip=False, max_length=LONGEST_TEXT,
                            widget=forms.Textarea(attrs={"rows": 3}))
    description = forms.CharField(max_length=300, required=False, help_text="One line, shown in lists.")
    symbol = forms.ChoiceField(choices=[(symbol, symbol) for symbol in SYMBOLS], widget=forms.RadioSelect)
    hue = forms.RegexField(
        r"^#[0-9A-Fa-f]{6}\Z", label="Colour", widget=forms.TextInput(attrs={"type": "color"}),
        help_text="Pages darken or lighten it where that is needed for contrast.")

    def __init__(self, *args: Any, team: Team, principle: Principle | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team = team
        self.is_trial = "try" in self.data
        self.trial: MeasureTrial | None = None
        self.fields.update(measure_fields(str(self.get_initial_for_field(forms.CharField(), "kind") or "words")))
        if principle:
            del self.fields["name"]
            self._keep_choice("symbol", principle.symbol)
        else:
            self.fields["name"].required = not self.is_trial
            used = Principle.objects.of(team).values_list("symbol", "hue")
            self.fields["symbol"].initial = _first_free(SYMBOLS, [symbol for symbol, _ in used])
            self.fields["hue"].initial = _first_free(PALETTE, [hue for _, hue in used])

    def _keep_choice(self, field: str, value: str) -> None:
        """Keep offering a principle's symbol that is no longer in the list."""
        choices = self.fields[field]
        assert isinstance(choices, forms.ChoiceField)
        if value not in SYMBOLS:
            choices.choices = [(value, value), *((symbol, symbol) for symbol in SYMBOLS)]

    @property
    def groups(self) -> list[FieldGroup]:
        """The settings of the kinds of measures that have any, for the template."""
        return field_groups(self)

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if Principle.objects.of(self._team).filter(name=name).exists():
            raise forms.ValidationError("Your team already has a principle with this name. Edit it, or choose another "
                                        "name.")
        return name

    def clean_statement(self) -> str:
        text = " ".join(str(self.cleaned_data["statement"]).split())
        return re.sub(r"^which response is\s*(…|\.\.\.)?\s*", "", text, flags=re.IGNORECASE).rstrip("?").strip()

    def clean(self) -> dict[str, Any]:
        """The values that the services take: the look, `statement` and `measure`. Errors of a measure's settings are
        at their fields; fields of kinds that are not chosen do not matter."""
        values: dict[str, Any] = super().clean() or {}
        look = {name: values[name] for name in _LOOK if name in values}
        if values.get("source") != "measured":
            if self.is_trial:
                self.trial = MeasureTrial(problems=("Choose “Measured by a program” to try a measure.",))
            elif not values.get("statement") and "statement" not in self.errors:
                self.add_error("statement", "This field is required: say what makes a response better.")
            return look | {"statement": values.get("statement", ""), "measure": None}
        if "kind" not in values:
            return look
        measure, problems = read_fields(values)
        for field, message in problems:
            self.add_error(field, message)
        if measure is None:
            return look
        stored = as_stored(measure)
        if self.is_trial:
            self.trial = try_measure(stored, prompt="", a=values.get("try_a", ""), b=values.get("try_b", ""))
        return look | {"statement": statement_of(measure), "measure": stored}


_LOOK = ("name", "polarity", "description", "symbol", "hue")


def _first_free(choices: tuple[str, ...], used: list[str]) -> str:
    taken = {value.upper() for value in used}
    return next((choice for choice in choices if choice.upper() not in taken), choices[0])
