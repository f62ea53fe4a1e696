"""The form of a principle: its wording and its look."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from webapp.accounts.models import Team
from webapp.principles.models import Principle

SYMBOLS = ("●", "▲", "■", "◆", "★", "♥", "⬟", "⬢", "▼", "✚", "❖", "—", "◐", "◧", "☀", "☂", "♣", "♠", "✦", "✱", "⚑", "⚙",
           "♪", "◎")
# Colour-blind safe, after Paul Tol; the library uses most of them.
PALETTE = ("#4477AA", "#228833", "#CC3311", "#AA3377", "#EE8866", "#009988", "#997700", "#6F4C9B", "#EE7733", "#0077BB",
           "#66CCEE", "#BBCC33", "#882255", "#44AA99", "#DDCC77", "#332288")


class PrincipleForm(forms.Form):
    """The form of a new principle or, with `principle`, of an existing one, whose name cannot change."""

    name = forms.RegexField(
        r"^[a-z0-9][a-z0-9_-]*\Z", max_length=64,
        help_text="Lower-case letters, digits, hyphens and underscores. It cannot be changed later: labels and files "
                  "refer to it.",
        error_messages={"invalid": "Use only lower-case letters, digits, hyphens and underscores."})
    statement = forms.CharField(
        label="Which response is …", max_length=2000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Completes the question to the judge, for example “more polite, and never curt”.")
    polarity = forms.ChoiceField(
        label="A higher score means", initial=Principle.Polarity.VIRTUE, widget=forms.RadioSelect, choices=[
            (Principle.Polarity.VIRTUE, "more of what the name says"),
            (Principle.Polarity.VICE, "less of it: the name is a fault"),
        ])
    description = forms.CharField(max_length=300, required=False, help_text="One line, shown in lists.")
    symbol = forms.ChoiceField(choices=[(symbol, symbol) for symbol in SYMBOLS], widget=forms.RadioSelect)
    hue = forms.RegexField(
        r"^#[0-9A-Fa-f]{6}\Z", label="Colour", widget=forms.TextInput(attrs={"type": "color"}),
        help_text="Pages darken or lighten it where that is needed for contrast.")

    def __init__(self, *args: Any, team: Team, principle: Principle | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team = team
        if principle:
            del self.fields["name"]
            self._keep_choice("symbol", principle.symbol)
        else:
            used = Principle.objects.of(team).values_list("symbol", "hue")
            self.fields["symbol"].initial = _first_free(SYMBOLS, [symbol for symbol, _ in used])
            self.fields["hue"].initial = _first_free(PALETTE, [hue for _, hue in used])

    def _keep_choice(self, field: str, value: str) -> None:
        """Keep offering a principle's symbol that is no longer in the list."""
        choices = self.fields[field]
        assert isinstance(choices, forms.ChoiceField)
        if value not in SYMBOLS:
            choices.choices = [(value, value), *((symbol, symbol) for symbol in SYMBOLS)]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if Principle.objects.of(self._team).filter(name=name).exists():
            raise forms.ValidationError("Your team already has a principle with this name. Edit it, or choose another "
                                        "name.")
        return name

    def clean_statement(self) -> str:
        text = " ".join(str(self.cleaned_data["statement"]).split())
        return re.sub(r"^which response is\s*(…|\.\.\.)?\s*", "", text, flags=re.IGNORECASE).rstrip("?").strip()


def _first_free(choices: tuple[str, ...], used: list[str]) -> str:
    taken = {value.upper() for value in used}
    return next((choice for choice in choices if choice.upper() not in taken), choices[0])
