"""Forms of principles: their wording and their look, and the judge and the pair to try one on."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from pydantic import ValidationError

from training import config
from training.config import field_errors
from webapp.accounts.models import Team
from webapp.judges.forms import clean_address
from webapp.judges.models import Connection
from webapp.principles.models import Principle

SYMBOLS = ("●", "▲", "■", "◆", "★", "♥", "⬟", "⬢", "▼", "✚", "❖", "—", "◐", "◧", "☀", "☂", "♣", "♠", "✦", "✱", "⚑", "⚙",
           "♪", "◎")
# Colour-blind safe, after Paul Tol; the library uses most of them.
PALETTE = ("#4477AA", "#228833", "#CC3311", "#AA3377", "#EE8866", "#009988", "#997700", "#6F4C9B", "#EE7733", "#0077BB",
           "#66CCEE", "#BBCC33", "#882255", "#44AA99", "#DDCC77", "#332288")
LONGEST_TEXT = 20_000
KINDS = [("rule", "The demo world’s rules"), ("openai", "A model on an OpenAI-compatible server")]


class PrincipleForm(forms.Form):
    """A new principle, or with `principle` the edit of one, whose name stays."""

    name = forms.RegexField(
        r"^[a-z0-9][a-z0-9_-]*\Z", max_length=64,
        help_text="Small letters, digits and hyphens. Labels and files carry it, so it never changes.",
        error_messages={"invalid": "Use small letters, digits, hyphens and underscores only."})
    statement = forms.CharField(
        label="Which response is …", max_length=2000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Completes the question that the judge is asked, such as “more polite, and never curt”.")
    polarity = forms.ChoiceField(
        label="A higher score means", initial=Principle.Polarity.VIRTUE, widget=forms.RadioSelect, choices=[
            (Principle.Polarity.VIRTUE, "more of what the name says"),
            (Principle.Polarity.VICE, "less of it: the name says the vice"),
        ])
    description = forms.CharField(max_length=300, required=False, help_text="One line for lists.")
    symbol = forms.ChoiceField(choices=[(symbol, symbol) for symbol in SYMBOLS], widget=forms.RadioSelect)
    hue = forms.RegexField(
        r"^#[0-9A-Fa-f]{6}\Z", label="Colour", widget=forms.TextInput(attrs={"type": "color"}),
        help_text="Pages darken or lighten it as far as it must be to stay readable.")

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
        """A symbol chosen before the list changed stays a choice."""
        choices = self.fields[field]
        assert isinstance(choices, forms.ChoiceField)
        if value not in SYMBOLS:
            choices.choices = [(value, value), *((symbol, symbol) for symbol in SYMBOLS)]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if Principle.objects.of(self._team).filter(name=name).exists():
            raise forms.ValidationError("The team has a principle of this name. Edit that one, or choose another name.")
        return name

    def clean_statement(self) -> str:
        text = " ".join(str(self.cleaned_data["statement"]).split())
        return re.sub(r"^which response is\s*(…|\.\.\.)?\s*", "", text, flags=re.IGNORECASE).rstrip("?").strip()


class TrialForm(forms.Form):
    """A pair and a judge. Blank fields of the judge mean what they mean in a recipe."""

    prompt = forms.CharField(max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 2}))
    a = forms.CharField(label="Response A", max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 4}))
    b = forms.CharField(label="Response B", max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 4}))
    kind = forms.ChoiceField(label="Judge", choices=KINDS)
    base_url = forms.CharField(
        label="Server", max_length=500, required=False, widget=forms.URLInput(
            attrs={"placeholder": "https://api.openai.com/v1"}),
        help_text="Ends in /v1. Empty: OpenAI’s.")
    model = forms.CharField(max_length=200, required=False, help_text="Its name on the server.")
    api_key_env = forms.CharField(
        label="Variable with the key", max_length=100, required=False,
        help_text="Set by the administrator, for the hosts they listed. A key of your own belongs to a judge saved "
                  "under Judges.")

    judge: config.JudgeSettings

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A local model is loaded by the workers only; the web never loads one.
        self._saved = {f"saved:{one.pk}": one for one in Connection.objects.of(team).exclude(kind="local")}
        kind = self.fields["kind"]
        assert isinstance(kind, forms.ChoiceField)
        kind.choices = [*KINDS, *((value, one.name) for value, one in self._saved.items())]

    def clean_base_url(self) -> str:
        return clean_address(str(self.cleaned_data["base_url"]))

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if self.errors:
            return found
        try:
            if saved := self._saved.get(found["kind"]):
                self.judge = saved.settings()
                return found
            self.judge = config.JudgeSettings.model_validate({key: found[key] for key in
                                                      ("kind", "base_url", "model", "api_key_env")})
        except ValidationError as error:
            for field, message in field_errors(error):
                self.add_error(field if field in self.fields else None, message)
        return found


def _first_free(choices: tuple[str, ...], used: list[str]) -> str:
    taken = {value.upper() for value in used}
    return next((choice for choice in choices if choice.upper() not in taken), choices[0])
